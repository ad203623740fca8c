"""A child process and its supervisor, when one of them is gone."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from ghostwire.server.listen import local
from ghostwire.server.observer import Silent
from ghostwire.server.process import _heed
from ghostwire.server.workers import supervisor as supervisors
from ghostwire.server.workers import takeover
from ghostwire.server.workers.stations import kill_process
from ghostwire.server.workers.supervisor import HAND_OVER, HUNG_S, LOOK_S, START_S, Child, Supervisor


class Service:
    has_heir = False

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def test_a_child_ends_with_a_supervisor_that_has_not_read_what_it_was_told() -> None:
    """The kernel says then that the channel was reset."""
    service, told = Service(), asyncio.Event()
    theirs, ours = socket.socketpair()
    with ours:
        ours.sendall(b"ready")
        _heed(ours, service, told)
        theirs.close()
        await asyncio.wait_for(told.wait(), 10)
    assert not service.has_heir


async def test_a_child_is_told_that_another_server_takes_its_place() -> None:
    service, told = Service(), asyncio.Event()
    theirs, ours = socket.socketpair()
    with ours, theirs:
        _heed(ours, service, told)
        theirs.sendall(HAND_OVER)
        await asyncio.wait_for(told.wait(), 10)
    assert service.has_heir


def test_a_process_that_has_ended_need_not_be_killed() -> None:
    with subprocess.Popen(["true"]) as process:
        handle = os.pidfd_open(process.pid)
        process.wait(10)
    kill_process(handle)
    os.close(handle)


@pytest.mark.parametrize(("ready", "patience"), [(False, START_S), (True, HUNG_S)])
def test_a_leader_has_its_time_again_after_its_supervisor_stood_still(
    monkeypatch: pytest.MonkeyPatch, ready: bool, patience: float
) -> None:
    now, killed = 1000.0, list[float]()
    monkeypatch.setattr(supervisors, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(now))
    supervisor = Supervisor.__new__(Supervisor)
    supervisor._leader = Child("leader", lambda _: 0, pid=1, since=now, heard_at=now, ready=ready)
    supervisor._observer, supervisor._looked = Silent(), now
    stood = now = now + 10 * START_S
    while not killed:
        supervisor._look()
        now += LOOK_S
    assert patience < killed[0] - stood <= patience + LOOK_S


def test_who_asks_at_a_door_that_is_made_anew_holds_nothing_up(tmp_path: Path) -> None:
    """The selector had said that somebody is at the door, and another event of the same moment made a new one."""
    supervisor = Supervisor.__new__(Supervisor)
    supervisor._data, supervisor._door, supervisor._heir = tmp_path, None, None
    with selectors.DefaultSelector() as supervisor._selector, socket.socket(socket.AF_UNIX) as asking:
        supervisor._open_door()
        with local.reachable(tmp_path, takeover.NAME) as path:
            asking.connect(path)
        ((key, _),) = supervisor._selector.select(10)
        supervisor._open_door()
        answering = threading.Thread(target=key.data, daemon=True)
        answering.start()
        answering.join(10)
        assert not answering.is_alive()
        supervisor._door.close()


def test_of_a_child_that_ended_no_channel_stays_open() -> None:
    """Not even where it had just said something, which is heard: the next child speaks on a channel of its own."""
    ours, theirs = socket.socketpair()
    said = [sys.executable, "-c", f"import os; os.write({theirs.fileno()}, b'{{\"ready\": true}}\\n')"]
    process = subprocess.Popen(said, pass_fds=[theirs.fileno()])
    theirs.close()
    child = Child("leader", lambda _: 0, pid=process.pid, channel=ours)
    supervisor = Supervisor.__new__(Supervisor)
    supervisor._leader, supervisor._workers, supervisor._heir = child, [], None
    supervisor._observer, supervisor._stopping = Silent(), False
    with selectors.DefaultSelector() as supervisor._selector:
        supervisor._selector.register(ours, selectors.EVENT_READ)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        supervisor._reap()
        assert not supervisor._selector.get_map()
    process.returncode = 0
    assert (child.ready, child.channel, child.pid, ours.fileno()) == (True, None, 0, -1)
