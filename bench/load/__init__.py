"""Load from outside: servers in processes of their own, and clients that measure from the scheduled moment."""
