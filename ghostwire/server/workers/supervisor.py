"""Supervisor: the process that `serve` starts, which has the public sockets, and forks the leader and the workers.

Either is started again when it ends. The supervisor runs no event loop and no thread, so that what it forks begins
clean, and it never reads a key. A child says over its own channel that it is ready, or why it cannot be; the end of the
channel tells a child that its supervisor is gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn

import msgspec

from ghostwire.errors import GhostwireError, InternalError, PermissionDeniedError
from ghostwire.server.errors import STATUS
from ghostwire.server.identity import Naming
from ghostwire.server.listen import local, public
from ghostwire.server.observer import Observer
from ghostwire.server.options import ServeOptions
from ghostwire.server.workers import takeover
from ghostwire.server.workers.takeover import Estate

DONE: Final = 0
FAILED: Final = 1
START_S: Final = 120.0
"""How long the leader may take to load its store."""
STOP_S: Final = 15.0
"""How long children may take to end after they were told to."""
HAND_OVER_S: Final = 120.0
"""How long workers may take to send their nodes to another server's."""
HAND_OVER: Final = b"h"
"""What a child is told whose place another server takes: leave what is connected to it alone, and end."""
HUNG_S: Final = 30.0
"""How long the leader may say nothing before it is ended."""
LOOK_S: Final = 2.0
LATE_S: Final = 2.0
"""A look that comes later than this says something of the supervisor, not of the leader."""
STEADY_S: Final = 10.0
"""A child that has lived so long is started again at once."""
PAUSE_S: Final = (0.0, 0.25, 1.0, 2.0, 5.0)
"""How long to wait before starting a child again that keeps ending."""
_ERRORS: Final = {kind.code: kind for kind in reversed(STATUS)}

LeaderMain = Callable[[ServeOptions, socket.socket, bool], int]
"""Runs the leader in a process of its own; the channel is its supervisor's. Whether it is the first one."""
WorkerMain = Callable[[ServeOptions, Sequence[socket.socket], socket.socket], int]
"""The same for a worker, which accepts on these sockets."""


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child says: that it is ready, or the error that it ends with."""

    ready: bool = False
    code: str = ""
    message: str = ""


def speak(channel: socket.socket, word: Word) -> None:
    """Say something to the supervisor, if it still listens."""
    with contextlib.suppress(OSError):
        channel.sendall(msgspec.json.encode(word) + b"\n")


@dataclass(slots=True, eq=False)
class Child:
    """A process that should run. `pid` is 0 while it does not."""

    name: str
    main: Callable[[socket.socket], int]
    pid: int = 0
    starts: int = 0
    channel: socket.socket | None = None
    since: float = 0.0
    heard_at: float = 0.0
    failures: int = 0
    due: float = 0.0
    ready: bool = False
    said: bytes = field(default=b"", repr=False)


class Supervisor:
    """One server's. `run` returns when it was told to end, or when its leader could not start."""

    def __init__(
        self,
        options: ServeOptions,
        leader: LeaderMain,
        worker: WorkerMain,
        observer: Observer,
        estate: Estate | None = None,
    ) -> None:
        self._observer, self._estate = observer, estate
        if estate is None:
            wanted = Naming.of(options).listen
            self._sockets = public.bind_together(wanted, options.workers)
            self._listen = public.bound(self._sockets[0], wanted)
        else:
            self._listen, self._sockets = estate.listen, estate.sockets
        self._data = options.data
        options = replace(options, listen=str(self._listen))
        self._leader = Child("leader", lambda channel: leader(options, channel, self._leader.starts == 1))
        self._workers = [
            Child(f"worker {number + 1}", self._worker_main(worker, options, number))
            for number in range(options.workers)
        ]
        self._door: socket.socket | None = None
        self._heir: socket.socket | None = None
        self._heir_stands = False
        self._looked = 0.0
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._stopping = False

    def run(self) -> int:
        """Keep everything up until SIGTERM or SIGINT.

        Raises the `GhostwireError` that the leader ends with before it was ever ready.
        """
        self._listen_to_signals()
        gc.collect()
        gc.freeze()  # the children's collectors leave the pages alone that they share
        if self._estate is not None:
            self._estate.await_release()
        self._start(self._leader)
        if not self._await(self._leader):
            return FAILED
        self._open_door()
        for worker in self._workers:
            self._start(worker)
        if self._estate is not None and all(self._await(worker) for worker in self._workers):
            self._estate.stand()
        while not self._stopping and not self._heir_stands:
            self._turn()
        self._end()
        return DONE

    def _worker_main(self, worker: WorkerMain, options: ServeOptions, number: int) -> Callable[[socket.socket], int]:
        def main(channel: socket.socket) -> int:
            # Each has sockets of its own, unless a server with fewer of them was taken over.
            own = self._sockets[number :: options.workers] or (self._sockets[number % len(self._sockets)],)
            for other in self._sockets:
                if other not in own:
                    other.close()
            return worker(options, own, channel)

        return main

    # Children.

    def _start(self, child: Child) -> None:
        ours, theirs = socket.socketpair()
        child.starts += 1
        pid = os.fork()
        if not pid:
            ours.close()
            self._become(child, theirs)
        theirs.close()
        child.pid, child.channel, child.since, child.ready = pid, ours, time.monotonic(), False
        child.said, child.heard_at = b"", child.since
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))
        self._observer.event("info", "supervisor.started", child=child.name, pid=pid)

    def _become(self, child: Child, channel: socket.socket) -> NoReturn:
        """In the new process: be the child, and nothing of the supervisor."""
        code = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            self._wake.close()
            self._woken.close()
            for line in (self._door, self._heir, *(other.channel for other in (self._leader, *self._workers))):
                if line is not None:
                    line.close()
            code = child.main(channel)
        except GhostwireError as error:
            speak(channel, Word(code=error.code, message=error.message))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _hear(self, child: Child) -> None:
        """A child has said something, or its channel has ended with it."""
        if child.channel is None:
            return
        try:
            data = child.channel.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._hang_up(child)
            return
        child.heard_at = time.monotonic()
        child.said += data
        while b"\n" in child.said:
            line, _, child.said = child.said.partition(b"\n")
            word = msgspec.json.decode(line, type=Word)
            if word.ready:
                child.ready = True
            else:
                self._observer.event("error", "supervisor.child_failed", child=child.name, error=word.message)
                if child is self._leader and not any(worker.since for worker in self._workers):
                    raise _ERRORS.get(word.code, InternalError)(word.message)

    def _hang_up(self, child: Child) -> None:
        if child.channel is not None:
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None

    def _reap(self) -> None:
        for child in (self._leader, *self._workers):
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._hear(child)
                self._hang_up(child)
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        now = time.monotonic()
        self._observer.event(
            "info" if self._stopping else "error", "supervisor.ended", child=child.name, pid=child.pid, code=code
        )
        child.pid = 0
        child.failures = 0 if now - child.since > STEADY_S else child.failures + 1
        if child is self._leader and self._heir is not None and not self._heir_stands:
            with contextlib.suppress(OSError):
                self._heir.sendall(takeover.RELEASED)
        child.due = now + PAUSE_S[min(child.failures, len(PAUSE_S)) - 1] if child.failures else now

    # The loop.

    def _turn(self) -> None:
        # While another server takes over, the leader is its own; what it does not come to, begins here again.
        wanted = self._workers if self._heir is not None else (self._leader, *self._workers)
        for child in wanted:
            if not child.pid and child.due <= time.monotonic():
                self._start(child)
        due = [child.due - time.monotonic() for child in wanted if not child.pid]
        self._wait(max(0.0, min([LOOK_S, *due])))
        self._look()

    def _look(self) -> None:
        """End a leader that hangs: its workers can do little more than wait for another one."""
        now, leader = time.monotonic(), self._leader
        slept, self._looked = now - self._looked > LOOK_S + LATE_S, now
        patience = leader.heard_at + (HUNG_S if leader.ready else START_S)
        if slept:
            leader.heard_at = now  # it is this process that stood still
        elif leader.pid and now > patience:
            self._observer.event("critical", "supervisor.leader_hung", pid=leader.pid)
            os.kill(leader.pid, signal.SIGKILL)

    def _wait(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()
        self._reap()

    def _await(self, child: Child) -> bool:
        """Wait until a child is ready; whether it came to be."""
        deadline = time.monotonic() + START_S
        while not child.ready and not self._stopping:
            if not child.pid or time.monotonic() > deadline:
                return False
            self._wait(deadline - time.monotonic())
        return True

    # Being taken over.

    def _open_door(self) -> None:
        if self._door is not None:
            self._selector.unregister(self._door)
            self._door.close()
        self._door = local.bind(self._data, takeover.NAME)
        self._door.setblocking(False)
        self._selector.register(self._door, selectors.EVENT_READ, self._asked)

    def _asked(self) -> None:
        """Somebody wants to take over."""
        assert self._door is not None  # noqa: S101 - it is selected for
        try:
            line, _ = self._door.accept()
        except BlockingIOError:
            return  # it was at the door before this one
        try:
            pid = local.require_own(line).pid
            if self._heir is not None:
                raise PermissionDeniedError("another one takes over already")
            takeover.offer(line, self._listen, self._sockets)
        except (PermissionDeniedError, OSError) as error:
            self._observer.event("warning", "takeover.refused", error=str(error))
            line.close()
            return
        self._observer.event("info", "takeover.begun", pid=pid)
        self._heir = line
        self._selector.register(line, selectors.EVENT_READ, self._heard_heir)
        self._tell_to_hand_over(self._leader)

    def _heard_heir(self) -> None:
        assert self._heir is not None  # noqa: S101 - it is selected for
        try:
            heard = self._heir.recv(len(takeover.STANDING))
        except ConnectionError:
            heard = b""
        self._heir_stands = heard == takeover.STANDING
        self._selector.unregister(self._heir)
        self._heir.close()
        if self._heir_stands:
            self._observer.event("info", "takeover.done")
        else:
            self._observer.event("error", "takeover.failed")
            self._heir = None
            self._open_door()

    def _tell_to_hand_over(self, child: Child) -> None:
        if child.channel is not None:
            with contextlib.suppress(OSError):
                child.channel.sendall(HAND_OVER)

    def _listen_to_signals(self) -> None:
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, lambda: self._woken.recv(4096))
        signal.set_wakeup_fd(self._wake.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)

    def _told(self, number: int, frame: object) -> None:
        if self._stopping:
            self._signal(signal.SIGKILL)
        self._stopping = True

    def _signal(self, number: int) -> None:
        for child in (self._leader, *self._workers):
            if child.pid:
                os.kill(child.pid, number)

    def _end(self) -> None:
        """Have every child end, by force in the end."""
        if self._heir_stands:
            for worker in self._workers:
                self._tell_to_hand_over(worker)
        else:
            self._signal(signal.SIGTERM)
        deadline = time.monotonic() + (HAND_OVER_S if self._heir_stands else STOP_S)
        while any(child.pid for child in (self._leader, *self._workers)):
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
                deadline = time.monotonic() + STOP_S
            self._wait(max(0.0, deadline - time.monotonic()))
        for listening in self._sockets:
            listening.close()
