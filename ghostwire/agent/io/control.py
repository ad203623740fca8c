"""The agent's socket: verbs of the command line in, one line of JSON each way.

A request is `{"verb": NAME, ...}`, an answer `{"result": ...}` or `{"error": {"code", "message", "retryable"}}`.
`logs` with `follow` sends one answer a line until either side closes. Who may ask is told by the kernel at accept.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from ghostwire.agent.io.asking import SOCKET
from ghostwire.errors import GhostwireError, PermissionDeniedError, ValidationError

MAX_REQUEST: Final = 64 * 1024
REQUEST_S: Final = 10.0
LAST_ANSWERS_S: Final = 0.5

Answerer = Callable[[dict[str, Any]], Awaitable[Any]]
Follower = Callable[[], AsyncIterator[Any]]


class Control:
    """Serves `DIR/agent.sock` to root, the agent's own uid and one operator."""

    def __init__(self, answer: Answerer, follow: Follower, operator: int | None) -> None:
        self._answer = answer
        self._follow = follow
        self._operator = operator
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._busy: set[asyncio.Task[None]] = set()

    async def open(self, folder: Path) -> None:
        """Listen. The caller holds the folder's lock, so a socket that is there has no owner any more."""
        path = folder / SOCKET
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        before = os.umask(0o177)
        try:
            # An address holds 107 bytes; through the folder's descriptor any path fits.
            listening.bind(f"/proc/self/fd/{descriptor}/{SOCKET}")
        finally:
            os.umask(before)
            os.close(descriptor)
        if self._operator is not None:
            self._admit_operator(folder, path, self._operator)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MAX_REQUEST)
        self._path = path

    async def close(self) -> None:
        """Remove the socket, answer who is still waiting, end who follows."""
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._busy:
            _, late = await asyncio.wait(self._busy, timeout=LAST_ANSWERS_S)
            for task in late:
                task.cancel()

    def _admit_operator(self, folder: Path, path: Path, uid: int) -> None:
        """Let one more user reach the socket: the folder may be passed through, everything else in it stays 0600."""
        folder.chmod(0o711)
        if os.geteuid() == 0:
            os.chown(path, uid, -1)
        else:
            path.chmod(0o666)

    def _check(self, writer: asyncio.StreamWriter) -> None:
        peer: socket.socket = writer.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in (0, os.geteuid(), self._operator):
            raise PermissionDeniedError(
                f"uid {uid} may not ask this agent: ask as root or uid {os.geteuid()}, or start it with --operator USER"
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)
        try:
            try:
                self._check(writer)
                request = await self._read(reader)
                if request.get("verb") == "logs" and request.get("follow"):
                    async for line in self._follow():
                        await _send(writer, {"result": line})
                else:
                    await _send(writer, {"result": await self._answer(request)})
            except GhostwireError as error:
                refusal = {"code": error.code, "message": error.message, "retryable": error.retryable}
                await _send(writer, {"error": refusal})
        except ConnectionError:
            return  # Who asked has left: there is nobody to tell.
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            async with asyncio.timeout(REQUEST_S):
                line = await reader.readline()
        except (TimeoutError, ValueError) as error:
            raise ValidationError(f"a request is one line of at most {MAX_REQUEST} bytes, sent at once") from error
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValidationError("a request is one line of JSON") from error
        if not isinstance(request, dict):
            raise ValidationError("a request is a JSON object with a verb")
        return request


async def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
