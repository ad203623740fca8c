"""MapWatch: whether the maps that nodes hold are what they should be, by what their heartbeats say of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ghostwire._native import pulse
from ghostwire.coordinator.effects import MapFrom
from ghostwire.coordinator.maps import Maps
from ghostwire.coordinator.quota import Quota
from ghostwire.model.position import Position
from ghostwire.wire.keys import equal

REPAIRS_AN_HOUR: Final = 2
"""Whole maps that a node is sent in an hour because its digest was wrong."""


class Checked(NamedTuple):
    """What a heartbeat leads to: a position that the held map may move to as it is, or what brings it up to date."""

    position: Position | None = None
    left: MapFrom | None = None


class MapWatch:
    """Compares digests when nothing is on its way, and brings a long quiet map's position up to date.

    Frames that have not arrived from one heartbeat to the next are lost: what they said is sent again. `mismatched` is
    called for each map that is wrong; a position may be `behind` so many changes of whoever's map.
    """

    def __init__(self, maps: Maps, behind: int, mismatched: Callable[[], None]) -> None:
        self._maps, self._behind, self._mismatched = maps, behind, mismatched
        self._repairs = Quota(REPAIRS_AN_HOUR, 3600.0)
        self._late: dict[int, Position] = {}

    def check(self, node: int, slot: int, held: Position, digest: bytes, mono: float) -> Checked:
        """What a node that holds this is to be told."""
        if not self._maps.is_current(slot, held):
            late = self._late.get(node) == held
            self._late[node] = held
            return Checked(left=MapFrom(held) if late else None)
        self._late.pop(node, None)
        if digest and not equal(digest, self._maps.digest(slot)):
            self._mismatched()
            return Checked(left=MapFrom(None) if self._repairs.take(node, mono) else None)
        return Checked(position=self._maps.newer(held, self._behind))

    def teach(self, usual: pulse.Pulse) -> None:
        """Say what usual heartbeats are compared with, to what answers as `check` would."""
        maps = self._maps
        usual.follow(maps.arena, maps.by_slot, self._late, maps.window.running(self._behind))

    def forget(self, node: int) -> None:
        """The node is gone."""
        self._repairs.forget(node)
        self._late.pop(node, None)
