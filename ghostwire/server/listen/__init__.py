"""Sockets: who may connect, what the first bytes ask for, and which protocol the connection is handed to."""
