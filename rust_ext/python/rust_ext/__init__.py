"""The Rust half of Ghostwire behind one facade; only `ghostwire._native` imports it."""

from ._rust import BUILD_PROFILE, SOURCES_DIGEST, VERSION, blocks, policy, sqlite, token, tunnel

__all__ = ["BUILD_PROFILE", "SOURCES_DIGEST", "VERSION", "blocks", "policy", "sqlite", "token", "tunnel"]
