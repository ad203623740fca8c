"""Where the agent meets the system: connection, tunnel, local store, control socket, interfaces."""
