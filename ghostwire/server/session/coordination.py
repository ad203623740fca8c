"""The coordinator as node sessions see it: in this process, or at the other end of a link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ghostwire.coordinator.commands import Command, HeartbeatNode, SetEndpoints
from ghostwire.coordinator.effects import SessionOpened
from ghostwire.errors import GhostwireError
from ghostwire.model.position import Position
from ghostwire.server.clock import Clock
from ghostwire.server.driver import Driver
from ghostwire.server.fanout import Fanout, Live
from ghostwire.server.heads import Heads
from ghostwire.server.recovery import Recovery
from ghostwire.wire.messages import Heartbeat, Query

Answer = Callable[[Any, GhostwireError | None], None]
"""What is called once with (value, None) or (None, error), perhaps at once."""
Heard = Callable[[GhostwireError | None], None]
"""What is called once, with the refusal where there is one."""


class Coordination(Protocol):
    """What node sessions need of the coordinator, and of what is pushed to them."""

    clock: Clock
    fanout: Fanout

    @property
    def head(self) -> bytes | None:
        """The newest signed head of the log, as a message."""

    @property
    def stale(self) -> bool:
        """Whether what is answered may be old, because nobody can say."""

    def submit(self, build: Callable[[int], Command], answer: Answer) -> None:
        """Hand in a command, made with the number by which it is answered."""

    def glance(self, live: Live, message: bytes, utc: int) -> bytes | None:
        """The frame that answers a usual heartbeat of a live session, not read yet; None where there is more to it."""

    def heartbeat(self, node: int, session: int, heard: Heartbeat, answer: Answer) -> None:
        """A live session gave a sign of life: answered with the position that its map may move to, if to any."""

    def peers(self, live: Live, query: Query) -> tuple[bytes, ...]:
        """Peers of a live session's own view: their parts as in its map. Raises `NotFoundError` outside of it."""

    def announce(self, live: Live, endpoints: tuple[str, ...], heard: Heard) -> None:
        """A live session says where its node may be reached. Raises `ValidationError`, or has it `heard` later."""

    def opened(self, opened: SessionOpened) -> None:
        """A session's connection still stood when its session did."""

    def returned(self, signed: bytes, heard: Heard) -> None:
        """A node has returned the head that it held, which is refused where it is not one of this store's."""


class InProcess:
    """The coordinator of this very process. `fanout` is empty where the sessions are in other ones."""

    stale = False

    def __init__(self, driver: Driver, fanout: Fanout, heads: Heads, recovery: Recovery) -> None:
        self.clock, self.fanout = driver.clock, fanout
        self.submit = driver.submit
        self._view = driver.coordinator.view
        self._heads, self._recovery = heads, recovery

    @property
    def head(self) -> bytes | None:
        """The newest signed head of the log, as a message."""
        return self._heads.frame

    @property
    def position(self) -> Position | None:
        """Where the coordinator stands, if nothing that came before waits to be told."""
        return None if self._view.pacer.waiting else self._view.position()

    def glance(self, live: Live, message: bytes, utc: int) -> bytes | None:
        """None: the coordinator itself hears of every sign of life."""
        return None

    def heartbeat(self, node: int, session: int, heard: Heartbeat, answer: Answer) -> None:
        """A live session gave a sign of life."""
        self.submit(
            lambda op: HeartbeatNode(
                op=op,
                actor=f"node:{node}",
                node=node,
                session=session,
                position=heard.position,
                digest=heard.digest,
                metrics=heard.metrics,
                hits=heard.hits,
                flows=heard.flows,
            ),
            answer,
        )

    def peers(self, live: Live, query: Query) -> tuple[bytes, ...]:
        """Peers of a live session's own view: their parts as in its map."""
        return self._view.peers(live.node, node=query.node, name=query.name, address=query.address)

    def announce(self, live: Live, endpoints: tuple[str, ...], heard: Heard) -> None:
        """A live session says where its node may be reached."""
        node, session = live.node, live.session
        self.submit(
            lambda op: SetEndpoints(op=op, actor=f"node:{node}", node=node, session=session, endpoints=endpoints),
            lambda value, error: heard(error),
        )

    def opened(self, opened: SessionOpened) -> None:
        """A session's connection still stood when its session did."""
        self._recovery.came(opened.node, self.clock().mono)

    def returned(self, signed: bytes, heard: Heard) -> None:
        """A node has returned the head that it held, which is refused where it is not one of this store's."""
        self._heads.returned(signed, heard)
