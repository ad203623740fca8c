"""The stream of facts that may be lost: counted by `vseq`, shown at once, flushed within seconds."""

from __future__ import annotations

from typing import Final

from pyroaring import BitMap64

from ghostwire.coordinator.agenda import Agenda, Due
from ghostwire.coordinator.change_window import ChangeWindow
from ghostwire.coordinator.effects import Flush
from ghostwire.coordinator.liveness import HeartbeatMonitor
from ghostwire.coordinator.rule_hits import HitLedger
from ghostwire.coordinator.snapshot import FlushMark, NodeFlows, NodeSeen
from ghostwire.coordinator.state import State
from ghostwire.coordinator.views import Views
from ghostwire.model.position import Position
from ghostwire.model.time import Now

_NOBODY: Final = 0


class VolatileStream:
    """What is not on disk yet. `vseq` numbers what peers were shown in this run."""

    def __init__(
        self,
        state: State,
        views: Views,
        liveness: HeartbeatMonitor,
        window: ChangeWindow,
        agenda: Agenda,
        hits: HitLedger,
    ) -> None:
        self._state = state
        self._views = views
        self._liveness = liveness
        self._window = window
        self._agenda = agenda
        self._hits = hits
        self._dirty = BitMap64()
        self.vseq = 0

    def step(self) -> int:
        """The next number."""
        self.vseq += 1
        return self.vseq

    def note(self, node: int, now: Now, within_s: float) -> None:
        """Something of this node is to be flushed within so many seconds."""
        self._dirty.add(node)
        self.arm(now, within_s)

    def note_all(self) -> None:
        """Every node is to be flushed with the next flush."""
        self._dirty.update(self._state.nodes)

    def arm(self, now: Now, within_s: float) -> None:
        """There is something to flush."""
        if not self._agenda.is_set(Due.FLUSH, _NOBODY):
            self._agenda.set(Due.FLUSH, _NOBODY, now.mono + within_s)

    def flush(self, position: Position, utc: int, flows: tuple[NodeFlows, ...]) -> Flush:
        """Everything since the last flush, `flows` with it. It holds at `position`, at which the caller stands."""
        self._agenda.cancel(Due.FLUSH, _NOBODY)
        facts = tuple(self._fact(node) for node in self._dirty if node in self._state.nodes)
        self._dirty.clear()
        changes = self._window.take_fresh()
        mark = FlushMark(
            boot=position.boot,
            vseq=position.vseq,
            seq=position.seq,
            utc=utc,
            next_class=self._views.numbers.next,
            oldest=self._window.oldest,
            ends=self._window.ends(),
        )
        return Flush(facts=(*facts, *changes, *self._hits.take_fresh(), mark), flows=flows, utc=utc)

    def _fact(self, node: int) -> NodeSeen:
        found = self._liveness.get(node)
        return NodeSeen(
            node_id=node,
            online=found.online,
            last_seen=found.last_seen,
            endpoints=found.endpoints,
            token_expires=found.token_expires,
            metrics=found.metrics,
            class_id=self._views.class_of(self._state.nodes[node].slot),
        )
