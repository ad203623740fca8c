"""What the agent answers on its socket, verb by verb."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ghostwire.agent.effects import Quit
from ghostwire.agent.io.connection import round_trip
from ghostwire.agent.io.runner import Runner
from ghostwire.agent.status import document, find_peer, peers, reason
from ghostwire.errors import NotFoundError, UnavailableError, ValidationError
from ghostwire.wire.netmap import Peer

LONGEST_PING_S: Final = 60.0
CHECKED_PEERS: Final = 64
"""`netcheck` sends packets to this many peers that are online; it says of how many."""
CHECK_S: Final = 3.0
_AT_A_TIME: Final = 8


class Answers:
    """Answers for one runner. `ended` is told once it has run."""

    def __init__(self, runner: Runner) -> None:
        self.ended: asyncio.Future[Quit] = asyncio.get_running_loop().create_future()
        self._runner = runner
        self._verbs: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "status": self._status,
            "ping": self._ping,
            "netcheck": self._netcheck,
            "logs": self._logs,
            "down": self._down,
            "logout": self._logout,
        }

    async def answer(self, request: dict[str, Any]) -> Any:
        """The result of one request. Raises from the error tree."""
        verb = request.get("verb")
        if not isinstance(verb, str) or verb not in self._verbs:
            raise ValidationError(f"there is no verb {verb!r}; there are {', '.join(self._verbs)}")
        return await self._verbs[verb](request)

    async def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        runner = self._runner
        return document(runner.machine, runner.tunnel.mode, runner.tunnel.counters())

    async def _ping(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted, seconds = request.get("peer"), request.get("timeout_s", 5.0)
        if not isinstance(wanted, str) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_PING_S:
            raise ValidationError(f"ping wants a peer, and a time-out of at most {LONGEST_PING_S:.0f} s")
        peer = find_peer(self._runner.machine, wanted)
        if peer is None:
            raise NotFoundError(f"there is no peer {wanted} in this node's map: `ghostwire status` lists them")
        # A name means the IPv4 address; an address means itself.
        address = wanted if wanted in (peer.ipv4, peer.ipv6) else peer.ipv4 or peer.ipv6
        await self._runner.settle()
        rtt = await asyncio.to_thread(self._runner.tunnel.ping, address, float(seconds))
        return {"peer": peer.name, "address": address, "rtt_ms": None if rtt is None else round(rtt, 3)}

    async def _netcheck(self, _request: dict[str, Any]) -> dict[str, Any]:
        machine = self._runner.machine
        origin = machine.memory.origin
        coordinator: dict[str, Any] = {
            "url": origin,
            "connected": machine.phase == "live",
            "rtt_ms": None,
            "reason": "",
        }
        try:
            coordinator["rtt_ms"] = round(await round_trip(origin) * 1000, 3)
        except UnavailableError as error:
            coordinator["reason"] = error.message
        known = peers(machine.netmap)
        online = [peer for peer in known if peer.online][:CHECKED_PEERS]
        await self._runner.settle()
        gate = asyncio.Semaphore(_AT_A_TIME)
        rtts = await asyncio.gather(*(self._reach(peer, gate) for peer in online))
        return {
            "coordinator": coordinator,
            "port": self._runner.tunnel.port,
            "endpoints": list(self._runner.endpoints()),
            "peers_online": sum(peer.online for peer in known),
            "peers_checked": len(online),
            "peers": [self._reached(peer, rtt) for peer, rtt in zip(online, rtts, strict=True)],
        }

    async def _reach(self, peer: Peer, gate: asyncio.Semaphore) -> float | None:
        async with gate:
            return await asyncio.to_thread(self._runner.tunnel.ping, peer.ipv4 or peer.ipv6, CHECK_S)

    def _reached(self, peer: Peer, rtt: float | None) -> dict[str, Any]:
        known = self._runner.tunnel.counters().get(peer.id)
        reached = known is not None and known.alive
        why = "" if reached or known is None else reason(peer, known, self._runner.machine.halted)
        return {
            "name": peer.name,
            "endpoint": None if known is None else known.endpoint,
            "udp": reached,
            "last_handshake_s": None if known is None else known.last_handshake_s,
            "rtt_ms": rtt,
            "reason": why,
        }

    async def _logs(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        last = request.get("last")
        if last is not None and (not isinstance(last, int) or last < 0):
            raise ValidationError("logs wants a number of lines")
        return self._runner.journal.lines(last)

    async def _down(self, _request: dict[str, Any]) -> dict[str, Any]:
        self._runner.stop()
        return {"stopping": True}

    async def _logout(self, _request: dict[str, Any]) -> dict[str, Any]:
        self._runner.logout()
        quit_with = await asyncio.shield(self.ended)
        if quit_with.code:
            raise quit_with.error()
        return {"removed": True}
