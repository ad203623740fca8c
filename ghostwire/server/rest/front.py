"""Stands before the application: Host, Origin, forwarded headers, bearer tokens, large bodies. A plain ASGI wrapper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ghostwire.errors import AuthenticationError, GhostwireError, UnavailableError
from ghostwire.model.credential import ApiToken
from ghostwire.model.time import Now
from ghostwire.server.clock import Clock
from ghostwire.server.listen.hosts import Doors
from ghostwire.server.rest.access import GRANT, NOBODY, OPEN, Caller
from ghostwire.server.rest.problem import encode, problem_of

Tell = Callable[[str, str, int, Now], None]
"""Told of each answer: method, path, status, and when the request came."""
CheckToken = Callable[[str], ApiToken]
"""The token of a secret. Raises `AuthenticationError`."""

LARGE: Final = 2
"""Large bodies that are read at a time of those who do not administer, one a caller: each may be 128 MiB."""
SECURITY_HEADERS: Final = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


class Front:
    """The application as connections see it. A body is large from `body_bytes` on."""

    __slots__ = ("_application", "_body_bytes", "_check", "_clock", "_doors", "_large", "_tell")

    def __init__(
        self, application: Any, doors: Doors, check: CheckToken, clock: Clock, tell: Tell, body_bytes: int
    ) -> None:
        self._application, self._doors, self._check = application, doors, check
        self._clock, self._tell = clock, tell
        self._body_bytes = body_bytes
        self._large: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        since = self._clock()

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
                self._tell(scope["method"], scope["path"], message["status"], since)
            await send(message)

        try:
            # A listener that vouches for its connections has put a caller into their state; TCP vouches for nobody.
            if GRANT not in scope["state"]:
                self._settle(scope)
            heavy = self._weigh(scope)
        except GhostwireError as error:
            problem = problem_of(error)
            body, headers = encode(problem)
            await send_guarded({"type": "http.response.start", "status": problem.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        self._large |= heavy
        try:
            await self._application(scope, receive, send_guarded)
        finally:
            self._large -= heavy

    def _settle(self, scope: Any) -> None:
        headers = scope["headers"]
        peer = scope["client"][0] if scope["client"] else ""
        scheme = self._doors.scheme(peer, headers, scope["scheme"])
        self._doors.admit(headers, scheme)
        scope["scheme"] = scheme
        if peer:
            scope["client"] = (self._doors.client(peer, headers), scope["client"][1])
        scope["state"][GRANT] = self._authenticate(headers, scope["path"])

    def _weigh(self, scope: Any) -> frozenset[str]:
        """Whose place a large body takes; nobody's for another one. Raises `UnavailableError` where there is none."""
        caller: Caller = scope["state"][GRANT]
        if caller.may("admin") or not self._is_large(scope["headers"]):
            return frozenset()
        if caller.actor in self._large or len(self._large) >= LARGE:
            raise UnavailableError("other large requests are on their way: come back in a moment", retry_after=1.0)
        return frozenset((caller.actor,))

    def _is_large(self, headers: Any) -> bool:
        """Whether the body is said to be large, or may be."""
        for name, value in headers:
            if name == b"transfer-encoding" or (name == b"content-length" and int(value) > self._body_bytes):
                return True
        return False

    def _authenticate(self, headers: Any, path: str) -> Caller:
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            if path in OPEN:
                return NOBODY
            raise AuthenticationError("this needs a token: send Authorization: Bearer TOKEN")
        kind, _, secret = given[0].decode("latin-1").partition(" ")
        if len(given) > 1 or kind.lower() != "bearer":
            raise AuthenticationError("this needs exactly one Authorization: Bearer TOKEN")
        token = self._check(secret.strip())
        return Caller(f"token:{token.id}", token.scope, token.user_id)
