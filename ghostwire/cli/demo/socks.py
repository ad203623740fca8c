"""Just enough of a SOCKS5 client (RFC 1928) to use an agent's proxy the way a browser would."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from ghostwire.errors import UnavailableError, WireError

REPLIES: Final = {
    1: "failed",
    2: "not allowed",
    3: "network unreachable",
    4: "host unreachable",
    5: "refused",
    6: "timed out",
}


def connect(proxy: Path, host: str, port: int, timeout_s: float) -> socket.socket:
    """Open a connection to a name or address of the mesh through the proxy, a Unix socket.

    Raises UnavailableError when the proxy says no or nothing comes back in time, WireError for what is no SOCKS5.
    """
    name = host.encode()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(proxy))
        connection.sendall(b"\x05\x01\x00")
        if _exactly(connection, 2) != b"\x05\x00":
            raise WireError("the proxy wants credentials")
        connection.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
        version, reply, _, kind = _exactly(connection, 4)
        if version != 5:
            raise WireError("the proxy speaks no SOCKS5")
        if reply != 0:
            raise UnavailableError(f"{host}:{port}: {REPLIES.get(reply, 'failed')}")
        _exactly(connection, {1: 4, 4: 16}.get(kind, 0) or _exactly(connection, 1)[0])
        _exactly(connection, 2)
    except TimeoutError as error:
        connection.close()
        raise UnavailableError(f"{host}:{port}: no answer within {timeout_s:g} s") from error
    except BaseException:
        connection.close()
        raise
    return connection


def fetch(proxy: Path, host: str, port: int, timeout_s: float) -> bytes:
    """Get http://HOST:PORT/ through the proxy and return the body of the answer.

    Raises UnavailableError as `connect` does, WireError for an answer that is none.
    """
    with connect(proxy, host, port, timeout_s) as connection:
        connection.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = bytearray()
        try:
            while piece := connection.recv(65536):
                answer += piece
        except TimeoutError as error:
            raise UnavailableError(f"{host}:{port}: the answer stopped half-way") from error
    head, blank, body = bytes(answer).partition(b"\r\n\r\n")
    if not blank or b" 200 " not in head.split(b"\r\n")[0] + b" ":
        raise WireError(f"{host}:{port} answered {head[:40]!r}")
    return body


def _exactly(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        piece = connection.recv(count - len(got))
        if not piece:
            raise UnavailableError("the proxy closed the connection")
        got += piece
    return got
