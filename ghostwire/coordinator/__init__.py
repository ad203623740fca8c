"""The sans-IO heart: it decides what happens to nodes, users and keys, and says what to store, push and answer."""

from ghostwire.coordinator.coordinator import Coordinator
from ghostwire.coordinator.counters import Counters, Observer
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.snapshot import FlushMark, MapChange, NodeSeen, Snapshot
from ghostwire.coordinator.view import View

__all__ = ["Coordinator", "Counters", "FlushMark", "MapChange", "NodeSeen", "Observer", "Settings", "Snapshot", "View"]
