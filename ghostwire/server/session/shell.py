"""What all node sessions of one server have in common, and what is done with all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from ghostwire.server.listen.router import Arrival
from ghostwire.server.observer import Observer
from ghostwire.server.options import Limits
from ghostwire.server.session.coordination import Coordination
from ghostwire.server.session.counters import SessionCounters
from ghostwire.server.session.node import NodeSession
from ghostwire.server.session.transport import SessionTransport
from ghostwire.server.session.turnstile import Turnstile
from ghostwire.wire.server_session import Gate


class SessionShell:
    """What all node sessions of one server share."""

    __slots__ = (
        "coordination",
        "counters",
        "empty",
        "entropy",
        "gate",
        "limits",
        "loop",
        "observer",
        "standing",
        "turnstile",
    )

    def __init__(
        self,
        coordination: Coordination,
        gate: Gate,
        entropy: Callable[[int], bytes],
        limits: Limits,
        observer: Observer,
    ) -> None:
        self.coordination, self.gate, self.entropy, self.limits = coordination, gate, entropy, limits
        self.observer = observer
        self.loop = asyncio.get_running_loop()
        self.counters = SessionCounters()
        self.standing: set[NodeSession] = set()
        self.empty = asyncio.Event()
        self.turnstile = Turnstile(self.loop, lambda: coordination.clock().mono, entropy)

    def connect(self, arrival: Arrival, answer: bytes) -> SessionTransport:
        """The protocol of a connection that is upgraded by `answer`."""
        return NodeSession(self, arrival, answer).transport

    def say_bye(self, reason: str, retry_after: float) -> None:
        """Tell every node that this server goes, and when to come back."""
        for session in list(self.standing):
            session.bye(reason, retry_after)

    async def drain(self, seconds: float) -> None:
        """Give connections so long to close, then cut them off."""
        if self.standing:
            self.empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.empty.wait(), seconds)
        for session in list(self.standing):
            session.transport.abort()
        await asyncio.sleep(0)
