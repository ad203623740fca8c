"""Ghostwire: a self-hosted coordinator for WireGuard meshes, its node agent and its encrypted store."""

__version__ = "0.1.0"
