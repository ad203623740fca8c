"""Replicas: copies of a store on other machines, kept by its change log, ready to take its place."""

from __future__ import annotations

from ghostwire.zqlite.replica.feed import Feed, serve
from ghostwire.zqlite.replica.link import Link
from ghostwire.zqlite.replica.standby import Replica, open_replica

__all__ = ["Feed", "Link", "Replica", "open_replica", "serve"]
