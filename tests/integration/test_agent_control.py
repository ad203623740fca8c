"""The agent's socket and what else it takes from its system: nonsense in, a clear answer out."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.agent.io import interfaces
from ghostwire.agent.io.asking import ask, is_running, stream
from ghostwire.agent.io.control import Control
from ghostwire.agent.io.folder import Folder
from ghostwire.agent.io.journal import Journal, logger
from ghostwire.agent.io.sample import Sampler
from ghostwire.errors import ConflictError, NotFoundError, PermissionDeniedError, UnavailableError


async def answer(request: dict[str, Any]) -> Any:
    if request.get("verb") == "missing":
        raise NotFoundError("there is no such thing")
    return request


async def follow() -> AsyncIterator[int]:
    for number in range(3):
        yield number


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    control = Control(answer, follow, None)
    await control.open(tmp_path)
    yield tmp_path
    await control.close()
    assert not (tmp_path / "agent.sock").exists()


async def raw(folder: Path, data: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(folder / "agent.sock"))
    writer.write(data)
    line = await asyncio.wait_for(reader.readline(), 30)
    writer.close()
    found: dict[str, Any] = json.loads(line)
    return found


async def test_answers_errors_and_streams_come_through(folder: Path) -> None:
    assert (folder / "agent.sock").stat().st_mode & 0o777 == 0o600
    assert await asyncio.to_thread(ask, folder, "status", peer="x") == {"verb": "status", "peer": "x"}
    with pytest.raises(NotFoundError, match="no such thing"):
        await asyncio.to_thread(ask, folder, "missing")
    lines = await asyncio.to_thread(lambda: list(stream(folder, "logs", follow=True)))
    assert lines == [0, 1, 2]
    assert await asyncio.to_thread(is_running, folder)


@pytest.mark.parametrize("data", [b"\n", b"nonsense\n", b"[1]\n", b'"x"\n', b"\xff\xfe\n", b"[" * 9000 + b"\n"])
async def test_nonsense_gets_a_clear_answer(folder: Path, data: bytes) -> None:
    answered = await raw(folder, data)
    assert answered["error"]["code"] == "validation"
    assert (await raw(folder, b'{"verb": "x"}\n'))["result"] == {"verb": "x"}


async def test_too_much_gets_a_clear_answer(folder: Path) -> None:
    assert (await raw(folder, b"x" * 200_000))["error"]["code"] == "validation"


async def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    control = Control(answer, follow, None)
    await control.open(deep)
    assert await asyncio.to_thread(ask, deep, "status") == {"verb": "status"}
    await control.close()


def test_where_no_agent_runs_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="ghostwire up"):
        ask(tmp_path, "status")
    with pytest.raises(UnavailableError, match="ghostwire up"):
        ask(tmp_path / "missing", "status")
    assert not is_running(tmp_path)
    # What a killed agent leaves behind is no agent.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "agent.sock"))
    assert not is_running(tmp_path)


def test_a_folder_is_held_by_one_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "agent"
    held = Folder.take(path)
    assert path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConflictError, match="ghostwire down"):
        Folder.take(path)
    held.release()
    path.chmod(0o711)
    Folder.take(path).release()
    assert path.stat().st_mode & 0o777 == 0o700
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    (other / "letters").touch()
    with pytest.raises(PermissionDeniedError, match="--state"):
        Folder.take(other)
    assert other.stat().st_mode & 0o777 == 0o755


def test_endpoints_are_what_other_machines_can_use() -> None:
    everything = interfaces.endpoints(51820, "", (), True)
    assert everything
    assert len(everything) <= interfaces.MOST
    assert everything[-1] in ("127.0.0.1:51820", "[::1]:51820")
    assert not any("fe80" in one or "%" in one for one in everything)
    without = interfaces.endpoints(51820, "", (), False)
    if any("127.0.0.1" not in one and "[::1]" not in one for one in everything):
        assert not {"127.0.0.1:51820", "[::1]:51820"} & set(without)
    else:
        assert without == everything
    own = [one.rpartition(":")[0].strip("[]") for one in everything]
    assert interfaces.endpoints(51820, "", own, True) == ()


async def test_the_journal_keeps_a_bounded_number_of_lines_and_tells_followers() -> None:
    journal = Journal()
    logger().addHandler(journal)
    try:
        for number in range(1500):
            logger().warning("line %d", number)
        assert len(journal.lines()) == 1000
        assert [line["message"] for line in journal.lines(2)] == ["line 1498", "line 1499"]
        assert journal.lines(0) == []
        following = journal.follow()
        assert (await anext(following))["message"] == "line 500"
        for _ in range(999):
            await anext(following)
        logger().warning("fresh")
        assert (await anext(following))["message"] == "fresh"
        await following.aclose()
    finally:
        logger().removeHandler(journal)


def test_samples_measure_what_moved_since_the_last() -> None:
    sampler = Sampler(100.0)
    first = sampler.sample(101.0, 1_000_000, 250_000, 0.002)
    assert first.bandwidth_mbps == 10.0
    assert first.latency_ms == 2.0
    assert first.bytes_in == 1_000_000
    assert sampler.sample(111.0, 1_000_000, 250_000, None).bandwidth_mbps == 0.0
    # A tunnel made anew counts from nothing.
    again = sampler.sample(112.0, 125_000, 0, None)
    assert again.bandwidth_mbps == 1.0
    assert again.uptime_seconds == 12
    assert first.load_factor <= os.getloadavg()[0] + 100
