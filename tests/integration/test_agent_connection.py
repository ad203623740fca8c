"""The agent's connection against other people's WebSocket server, with and without TLS."""

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from ghostwire.agent.io.connection import Connection, connect, parse_origin, round_trip
from ghostwire.errors import AuthenticationError, UnavailableError, ValidationError, WireError

PATIENCE_S = 15


class Hearer:
    def __init__(self) -> None:
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed: asyncio.Queue[str] = asyncio.Queue()

    def on_frame(self, connection: Connection, frame: bytes) -> None:
        self.frames.put_nowait(frame)

    def on_closed(self, connection: Connection, reason: str) -> None:
        self.closed.put_nowait(reason)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, bytes]:
    """A self-signed server context and the pin of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ghostwire")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return context, hashlib.sha256(spki).digest()


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[websockets.ServerConnection], object],
    tls: ssl.SSLContext | None = None,
    subprotocol: str = "ghostwire.v1",
) -> AsyncIterator[int]:
    async def handle(connection: websockets.ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await handler(connection)  # type: ignore[misc]

    server = await websockets.serve(
        handle, "127.0.0.1", 0, ssl=tls, subprotocols=[subprotocol], max_size=None, compression=None
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echo(connection: websockets.ServerConnection) -> None:
    await connection.send(b"challenge")
    async for message in connection:
        await connection.send(message)


async def soon(queue: asyncio.Queue[object]) -> object:
    return await asyncio.wait_for(queue.get(), PATIENCE_S)


async def test_frames_go_both_ways_and_the_first_is_not_lost() -> None:
    hearer = Hearer()
    async with serving(echo) as port:
        connection = await connect(f"http://127.0.0.1:{port}", b"", hearer)
        await asyncio.sleep(0.05)
        assert hearer.frames.empty()
        connection.start()
        assert await soon(hearer.frames) == b"challenge"
        big = bytes(range(256)) * 3900
        connection.send(big)
        assert await soon(hearer.frames) == big
        assert connection.spki == b""
        connection.close()
        await asyncio.sleep(0.05)
        assert hearer.closed.empty()


async def test_the_pin_is_the_hash_of_the_public_key(certificate: tuple[ssl.SSLContext, bytes]) -> None:
    context, pin = certificate
    hearer = Hearer()
    async with serving(echo, context) as port:
        connection = await connect(f"https://127.0.0.1:{port}", pin, hearer)
        connection.start()
        assert connection.spki == pin
        assert await soon(hearer.frames) == b"challenge"
        connection.close()


async def test_another_key_than_the_pinned_one_is_refused(certificate: tuple[ssl.SSLContext, bytes]) -> None:
    context, pin = certificate
    heard: list[object] = []

    async def listen(connection: websockets.ServerConnection) -> None:
        heard.extend([message async for message in connection])

    async with serving(listen, context) as port:
        with pytest.raises(AuthenticationError, match=pin.hex()):
            await connect(f"https://127.0.0.1:{port}", b"x" * 32, Hearer())
    assert not heard


async def test_without_a_pin_the_systems_authorities_decide(certificate: tuple[ssl.SSLContext, bytes]) -> None:
    async with serving(echo, certificate[0]) as port:
        with pytest.raises(AuthenticationError, match="--pin"):
            await connect(f"https://127.0.0.1:{port}", b"", Hearer())


async def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnavailableError, match=str(port)):
        await connect(f"http://127.0.0.1:{port}", b"", Hearer())
    with pytest.raises(UnavailableError):
        await round_trip(f"http://127.0.0.1:{port}")


async def test_what_is_no_coordinator_is_said_so() -> None:
    async with serving(echo, subprotocol="chat") as port:
        with pytest.raises((WireError, UnavailableError), match="no coordinator"):
            await connect(f"http://127.0.0.1:{port}", b"", Hearer())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(WireError, match="no coordinator"):
            await connect(f"http://127.0.0.1:{port}", b"", Hearer())


async def test_a_server_that_goes_is_heard_of() -> None:
    async def leave(connection: websockets.ServerConnection) -> None:
        await connection.close(1001, "restart")

    hearer = Hearer()
    async with serving(leave) as port:
        connection = await connect(f"http://127.0.0.1:{port}", b"", hearer)
        connection.start()
        assert "restart" in str(await soon(hearer.closed))
        assert hearer.closed.empty()


async def test_frames_beyond_the_protocols_size_end_the_connection() -> None:
    async def flood(connection: websockets.ServerConnection) -> None:
        await connection.send(b"x" * (2 << 20))
        await connection.wait_closed()

    hearer = Hearer()
    async with serving(flood) as port:
        connection = await connect(f"http://127.0.0.1:{port}", b"", hearer)
        connection.start()
        await soon(hearer.closed)
        assert hearer.frames.empty()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Mesh.Example:8443/", "https://mesh.example:8443"),
        ("https://mesh.example:443", "https://mesh.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://[FD00::1]:8443", "https://[fd00::1]:8443"),
    ],
)
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    assert parse_origin(url) == origin


@pytest.mark.parametrize(
    "url", ["mesh.example:8443", "ftp://mesh.example", "https://", "https://a/b", "https://u:p@a", "https://a:99999"]
)
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        parse_origin(url)
