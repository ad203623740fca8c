"""Node sessions: WebSocket frames, one node's connection, and what it may ask."""
