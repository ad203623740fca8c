"""Errors as problem documents (RFC 9457), one shape for every refusal."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from ghostwire.errors import GhostwireError, ValidationError
from ghostwire.server.errors import CODES, status_of
from ghostwire.server.observer import Observer

MEDIA_TYPE: Final = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong. `code` is stable for scripts; `retry_after` is in seconds."""

    status: int
    title: str
    detail: str
    code: str
    retryable: bool = False
    retry_after: float | None = None


def problem_of(error: GhostwireError) -> Problem:
    """The document of an error of the tree."""
    status = status_of(error).http
    return Problem(
        status=status,
        title=HTTPStatus(status).phrase,
        detail=error.message,
        code=error.code,
        retryable=error.retryable,
        retry_after=error.retry_after,
    )


def encode(problem: Problem) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The document's bytes, and the headers that belong to them."""
    body = msgspec.json.encode(problem)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    if problem.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after))).encode()))
    return body, headers


def handlers(observer: Observer) -> dict[Any, Any]:
    """What the application does with each kind of exception."""

    def refuse(request: Request[Any, Any, Any], error: GhostwireError) -> Response[bytes]:
        return _response(problem_of(error))

    def http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        detail = error.detail or HTTPStatus(error.status_code).phrase
        if isinstance(error, ValidationException) and isinstance(error.extra, list):
            detail = "; ".join(_explain(entry) for entry in error.extra) or detail
        return _response(
            Problem(
                status=error.status_code,
                title=HTTPStatus(error.status_code).phrase,
                detail=detail,
                code=CODES.get(error.status_code, "internal"),
            ),
            dict(error.headers or {}),
        )

    def fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        # What is not foreseen is logged with its type and place; the client learns nothing of its text.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
        observer.event("error", "rest.fault", error=type(error).__name__, path=request.scope["path"], place=place)
        return _response(
            Problem(status=500, title="Internal Server Error", detail="a fault of the server's own", code="internal")
        )

    def too_deep(request: Request[Any, Any, Any], error: RecursionError) -> Response[bytes]:
        # The decoder of bodies says it so; nothing else here recurses.
        return _response(problem_of(ValidationError("the body is nested too deeply")))

    return {GhostwireError: refuse, HTTPException: http, RecursionError: too_deep, Exception: fault}


def _explain(entry: Any) -> str:
    return f"{entry.get('key', 'body')}: {entry.get('message', 'not valid')}" if isinstance(entry, dict) else str(entry)


def _response(problem: Problem, extra: dict[str, str] | None = None) -> Response[bytes]:
    body, headers = encode(problem)
    named = {name.decode(): value.decode() for name, value in headers if not name.startswith(b"content-")}
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=named | (extra or {}))
