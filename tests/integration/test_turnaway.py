"""Connections beyond the bounds are answered, with and without TLS, however many come."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from ghostwire.agent.io.connection import Connection, connect
from ghostwire.coordinator.settings import Settings
from ghostwire.errors import UnavailableError
from ghostwire.server import Limits, ServeOptions, Server
from ghostwire.server.listen.turnaway import ALERT, LINGERING


def options(folder: Path, *, tls_off: bool) -> ServeOptions:
    limits = Limits(handshakes=2, handshakes_per_address=2)
    return ServeOptions(data=folder, settings=Settings(), listen="127.0.0.1:0", tls_off=tls_off, limits=limits)


async def full(server: Server) -> list[asyncio.StreamWriter]:
    """Take the places that there are for strangers."""
    return [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(2)]


async def answer(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def test_a_flood_is_answered_one_and_all(tmp_path: Path) -> None:
    async with Server(options(tmp_path / "server", tls_off=True)) as server:
        held = await full(server)
        found = await asyncio.gather(*(answer(server.port) for _ in range(4 * LINGERING)))
        assert all(said.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: " in said for said in found)
        assert len(set(found)) > 1
        for writer in held:
            writer.close()


async def test_behind_tls_some_are_answered_and_the_others_alerted(tmp_path: Path) -> None:
    async with Server(options(tmp_path / "server", tls_off=False)) as server:
        held = await full(server)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 503 ")
        writer.close()
        said = await asyncio.gather(*(silent(server.port) for _ in range(LINGERING + 20)))
        assert said.count(ALERT) >= 20
        for writer in held:
            writer.close()


async def silent(port: int) -> bytes:
    """What a stranger is told that begins no handshake, within a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(), 3)
    except TimeoutError:
        return b""
    finally:
        writer.close()


async def test_an_agent_comes_back_when_it_was_told_to(tmp_path: Path) -> None:
    async with Server(options(tmp_path / "server", tls_off=True)) as server:
        held = await full(server)
        with pytest.raises(UnavailableError) as refused:
            await connect(f"http://127.0.0.1:{server.port}", b"", Deaf())
        assert refused.value.retry_after is not None
        assert 3 <= refused.value.retry_after <= 10
        for writer in held:
            writer.close()


class Deaf:
    """Hears nothing: it never gets a session."""

    def on_frame(self, _connection: Connection, frame: bytes) -> None:
        raise AssertionError(frame)

    def on_closed(self, _connection: Connection, reason: str) -> None:
        raise AssertionError(reason)
