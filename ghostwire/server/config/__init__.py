"""The server's configuration: what can be set, where values come from, and saying so."""
