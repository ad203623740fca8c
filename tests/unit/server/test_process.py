"""A child process and its supervisor, when one of them is gone."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess

from ghostwire.server.process import _heed
from ghostwire.server.workers.stations import kill_process
from ghostwire.server.workers.supervisor import HAND_OVER


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
