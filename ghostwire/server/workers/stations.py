"""Stations: the workers as the leader sees them, and which of them has each live session.

To the driver they are the outlet that sessions of its own process would be. What it pushes goes once to each worker
that has a session concerned, in the order in which it was decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from ghostwire.coordinator.effects import CloseSession, Push, Send
from ghostwire.errors import PermissionDeniedError
from ghostwire.server.driver import Driver
from ghostwire.server.listen import local
from ghostwire.server.listen.acceptor import Acceptor
from ghostwire.server.port import PortCounts, World
from ghostwire.server.session.coordination import InProcess
from ghostwire.server.status import WorkersStatus
from ghostwire.server.workers.end import Stream
from ghostwire.server.workers.link import Greeting
from ghostwire.server.workers.messages import (
    BEAT_S,
    SILENT_S,
    At,
    Broadcast,
    Close,
    Head,
    Mark,
    Own,
    Replaced,
    Replicated,
)
from ghostwire.server.workers.station import Place, Station

SOCKET: Final = "feed.sock"
CONFIRM_S: Final = 1.0
"""How long a worker may take to say that everything so far has been handed to its sessions."""
MAP_S: Final = 0.005
"""What it has on top for each whole map that is left to workers, whichever of them is to make it: they may share a
processor. One that hangs over it is silent."""
UNREAD_BYTES: Final = 128 * 1024 * 1024
"""What may wait for a worker that doesn't take its feed."""
LEAVE_S: Final = 5.0
"""How long workers may take to end when the server stops."""
LATE_S: Final = 1.0
"""A look at the workers that comes later than this says something of the leader, not of them."""


class Stations:
    """One leader's. `kill` ends the process behind a descriptor (`pidfd_open`), which somebody starts again."""

    def __init__(self, world: World, kill: Callable[[int], None]) -> None:
        self._world, self._kill = world, kill
        self._loop = asyncio.get_running_loop()
        self._stations: dict[bytes, Station] = {}
        self._places: dict[int, Place] = {}
        self._own = world.entropy(16)
        self._head = Head(None, 0)
        self._marks = 0
        self._waiting: dict[int, tuple[set[Station], Callable[[], None]]] = {}
        self._maps_until = 0.0
        self._looked = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._acceptor: Acceptor | None = None
        self._empty = asyncio.Event()
        self._stopping = False
        self._lost = 0

    # The server's side.

    def open(self, directory: Path, driver: Driver, coordination: InProcess) -> None:
        """Let workers in."""
        self._coordination = coordination
        self._feed = driver.lead(self._replicate)
        self._acceptor = Acceptor(local.bind(directory, SOCKET), self._accepted, self._world.observer)
        self._look()

    async def stop(self, *, wait: bool) -> None:
        """Let the workers go. They drain on their own, or, where nobody waits for that, look for another leader."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._acceptor is not None:
            await self._acceptor.close()
        if self._stations and wait:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), LEAVE_S)
        for station in list(self._stations.values()):
            if wait:
                self._drop(station)
            else:
                self._loop.remove_reader(station.handle)
                station.end.flush()
                station.close()

    def counts(self) -> PortCounts:
        """What all workers count."""
        return PortCounts.total(station.counts for station in self._stations.values())

    # The driver's side.

    def __len__(self) -> int:
        return len(self._places)

    def workers(self) -> WorkersStatus:
        """Every worker, by the process's id."""
        found = sorted((station.status() for station in self._stations.values()), key=lambda worker: worker.pid)
        return WorkersStatus(standing=tuple(found), replaced=self._lost)

    @property
    def depth(self) -> int:
        """Batches that workers have not confirmed."""
        return sum(station.end.link.lag for station in self._stations.values())

    def push(self, effect: Push) -> None:
        """Send one frame to all that live of these slots: each worker picks its own out of what is the same for all."""
        effect.slots.run_optimize()
        broadcast = Broadcast(effect.slots.serialize(), effect.frame, effect.urgent)
        for station in self._stations.values():
            if effect.slots.intersect(station.slots):
                station.say(broadcast)

    def deliver(self, effect: Send) -> None:
        """Send a session its own frames, after everything that was pushed before."""
        place = self._places.get(effect.node)
        if place is not None and place.session == effect.session:
            if effect.waits:
                self._maps_until = max(self._maps_until, self._loop.time()) + MAP_S
            place.station.say(Own(effect.node, effect.session, tuple(effect.frames), effect.left))

    def close(self, effect: CloseSession) -> None:
        """End a session."""
        place = self.forget(effect.node, effect.session)
        if place is not None:
            place.station.say(Close(effect.node, effect.session, effect.code, effect.reason))

    def tell_some(self, frame: bytes, count: int) -> None:
        """Send one message to so many sessions, to others each time, and keep it for those that open later."""
        self._head = Head(frame, -(-count // max(1, len(self._stations))))
        for station in self._stations.values():
            station.say(self._head)

    def drop_head(self) -> None:
        """There is no head any more that nodes should be told."""
        self._head = Head(None, 0)
        for station in self._stations.values():
            station.say(self._head)

    def settled(self, then: Callable[[], None]) -> None:
        """Call `then` once everything so far has been handed to its sessions, in every worker that lives then."""
        if not self._stations:
            then()
            return
        self._marks += 1
        self._waiting[self._marks] = (set(self._stations.values()), then)
        for station in self._stations.values():
            station.say(Mark(self._marks))
        self._look_after(self._marks)

    # A station's side.

    def place(self, station: Station, node: int, slot: int, session: int) -> None:
        """A node's session lives in this worker from now on."""
        before = self._places.get(node)
        if before is not None:
            before.station.slots.discard(before.slot)
            if before.station is not station:
                before.station.say(Replaced(node, before.session))
        self._places[node] = Place(station, slot, session)
        station.slots.add(slot)

    def forget(self, node: int, session: int) -> Place | None:
        """A session is over; where it was, None where it was not."""
        place = self._places.get(node)
        if place is None or place.session != session:
            return None
        del self._places[node]
        place.station.slots.discard(place.slot)
        return place

    def told(self, station: Station, number: int) -> None:
        """A worker has handed everything before a mark to its sessions."""
        found = self._waiting.get(number)
        if found is not None:
            found[0].discard(station)
            self._finish(number)

    def _finish(self, number: int) -> None:
        missing, then = self._waiting[number]
        if not missing:
            del self._waiting[number]
            then()

    def _look_after(self, number: int) -> None:
        """See that this mark is confirmed, in a second and the time that maps take which are made before."""
        seconds = CONFIRM_S + max(0.0, self._maps_until - self._loop.time())
        self._loop.call_later(seconds, self._overdue, number, seconds)

    def _overdue(self, number: int, seconds: float) -> None:
        found = self._waiting.get(number)
        if found is None:
            return
        for station in [station for station in found[0] if not station.begins]:
            self._dismiss(station, f"it left a confirmation open for {seconds:.3g} s")
        if number in self._waiting:
            # The others get their replicas first, which for a large network takes its time.
            self._look_after(number)

    # Who comes and goes.

    def _accepted(self, connection: socket.socket) -> Stream | None:
        try:
            pid = local.require_own(connection).pid
        except PermissionDeniedError as error:
            self._world.observer.event("warning", "worker.refused", error=str(error))
            return None
        return Stream(partial(self._greeted, pid), self._broken)

    def _replicate(self, batch: bytes) -> None:
        told = Replicated(memoryview(batch))
        for station in self._stations.values():
            station.say(told)

    def _greeted(self, pid: int, stream: Stream, greeting: Greeting) -> None:
        station = self._stations.get(greeting.own)
        if station is None:
            # It has just spoken, so the process with this number is the one that is meant.
            handle = os.pidfd_open(pid)
            station = Station(self, self._coordination, self._own, pid, handle)
            self._stations[greeting.own] = station
            self._world.observer.event("info", "worker.attached", pid=pid)
            self._loop.add_reader(handle, self._died, station)
        station.heard_at = self._coordination.clock().mono
        if not station.end.carried_by(stream, greeting, b""):
            station.begin(self._feed.snapshot())
            if self._head.frame is not None:
                station.say(Head(self._head.frame, 0))

    def _broken(self, stream: Stream, reason: str) -> None:
        for station in self._stations.values():
            if station.end.lost(stream):
                self._world.observer.event("warning", "worker.link_cut", pid=station.pid, reason=reason)

    def _look(self) -> None:
        now = self._coordination.clock().mono
        late = now - self._looked > BEAT_S + LATE_S
        self._looked = now
        self._timer = self._loop.call_later(BEAT_S, self._look)
        at = At(self._coordination.position)
        for station in list(self._stations.values()):
            station.say(at)
            if late:
                station.heard_at = now
            elif now - station.heard_at > SILENT_S:
                self._dismiss(station, f"it was silent for {SILENT_S:g} s")
            elif station.end.link.kept_bytes > UNREAD_BYTES:
                self._dismiss(station, "it does not take its feed")

    def _died(self, station: Station) -> None:
        """The process has ended."""
        self._world.observer.event("info" if self._stopping else "error", "worker.ended", pid=station.pid)
        self._drop(station)

    def _dismiss(self, station: Station, reason: str) -> None:
        self._world.observer.event("error", "worker.killed", pid=station.pid, reason=reason)
        self._kill(station.handle)
        self._drop(station)

    def _drop(self, station: Station) -> None:
        """Its sessions are over. Their nodes come back elsewhere, and stay as they were meanwhile."""
        found = next((own for own, known in self._stations.items() if known is station), None)
        if found is None:
            return
        del self._stations[found]
        if not self._stations:
            self._empty.set()
        self._lost += not self._stopping
        self._loop.remove_reader(station.handle)
        station.close()
        lost = [(node, place.session) for node, place in self._places.items() if place.station is station]
        for node, _ in lost:
            del self._places[node]
        station.lost(lost)
        for number in [number for number, (missing, _) in self._waiting.items() if station in missing]:
            self.told(station, number)


def kill_process(handle: int) -> None:
    """End the process behind a descriptor at once, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
