"""What disks do to a store: power cuts at any moment, calls that fail, syncs that take long.

Each is an SQLite VFS below the cipher; `zqlite.open(path, key=..., vfs=name)` uses it.
"""

from __future__ import annotations

from ghostwire.testing.crash.faults import Fault, FaultVFS
from ghostwire.testing.crash.latency import SlowDisk, slow_disk
from ghostwire.testing.crash.recorder import Recorder
from ghostwire.testing.crash.states import State, states

__all__ = ["Fault", "FaultVFS", "Recorder", "SlowDisk", "State", "slow_disk", "states"]
