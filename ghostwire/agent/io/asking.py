"""Asking a running agent over its socket. Imports nothing heavy: `status` starts in the time that Python needs."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ghostwire import errors
from ghostwire.errors import GhostwireError, InternalError, PermissionDeniedError, UnavailableError

SOCKET: Final = "agent.sock"


def ask(folder: Path, verb: str, timeout_s: float = 30.0, /, **arguments: Any) -> Any:
    """Send one verb and return its result.

    Raises the error that the agent names, `UnavailableError` where none runs in `folder`.
    """
    return next(stream(folder, verb, timeout_s, **arguments))


def stream(folder: Path, verb: str, timeout_s: float | None = None, /, **arguments: Any) -> Iterator[Any]:
    """Send one verb and yield its results as they come."""
    with _connect(folder) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            answered = False
            for line in connection.makefile("rb"):
                answered = True
                yield _result(json.loads(line))
        except OSError as error:
            raise UnavailableError(f"the agent in {folder} does not answer: {error}") from error
        if not answered:
            raise UnavailableError(f"the agent in {folder} ended before it answered")


def is_running(folder: Path) -> bool:
    """Whether an agent listens in `folder`."""
    try:
        _connect(folder).close()
    except UnavailableError:
        return False
    return True


def _connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # An address holds 107 bytes; through the folder's descriptor any path fits.
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
        finally:
            os.close(descriptor)
    except PermissionError as error:
        connection.close()
        raise PermissionDeniedError(
            f"the agent in {folder} answers only root and its own user: try again as one of them"
        ) from error
    except OSError as error:
        connection.close()
        raise UnavailableError(f"no agent runs in {folder}: start one with `ghostwire up`") from error
    return connection


def _result(answer: dict[str, Any]) -> Any:
    refusal = answer.get("error")
    if refusal is None:
        return answer["result"]
    kinds: dict[str, type[GhostwireError]] = {kind.code: kind for kind in vars(errors).values() if _is_error(kind)}
    raise kinds.get(refusal["code"], InternalError)(refusal["message"])


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, GhostwireError)
