"""The load client: thousands of real nodes in a few processes, on an open-loop schedule, against a real server."""
