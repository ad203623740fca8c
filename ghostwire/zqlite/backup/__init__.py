"""Backups: sealed segments of the change log, made while the store works, opened by their recipients alone."""

from __future__ import annotations

from ghostwire.zqlite.backup.restore import Restored, chain, find, restore, verify
from ghostwire.zqlite.backup.segment import Segment, read
from ghostwire.zqlite.backup.take import newest

__all__ = ["Restored", "Segment", "chain", "find", "newest", "read", "restore", "verify"]
