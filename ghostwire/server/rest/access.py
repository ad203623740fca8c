"""Who asks, and what they may: settled for each request before the application sees it.

On the admin socket the listener vouches (peer credentials at accept). Over TCP a bearer token does, and without one
only `OPEN` paths answer. Nothing a client writes into a header raises its rights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler

from ghostwire.errors import AuthenticationError, PermissionDeniedError
from ghostwire.model.credential import Scope

GRANT: Final = "ghostwire.caller"
"""The key in a connection's state under which its listener puts a `Caller`."""
CONNECTED: Final = "ghostwire.connected"
"""The key under which the listener puts when the connection was accepted, in UTC nanoseconds."""
OPEN: Final = frozenset({"/v1/health/live", "/v1/health/ready", "/v1/version"})
RANK: Final[dict[Scope, int]] = {"read": 0, "write": 1, "admin": 2}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `actor` as it stands in the change log, the scope of what they may, and the user of their token.

    `local`: on the admin socket, so by right of this very machine.
    """

    actor: str
    scope: Scope | None = None
    user: int | None = None
    local: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether the caller's scope reaches so far."""
        return self.scope is not None and RANK[self.scope] >= RANK[scope]

    def need(self, scope: Scope, what: str) -> None:
        """Raise unless the caller's scope reaches so far."""
        if self.scope is None:
            raise AuthenticationError("this needs a token: send Authorization: Bearer TOKEN")
        if not self.may(scope):
            raise PermissionDeniedError(f"{what} needs the scope {scope!r}; the token has {self.scope!r}")


FromCaller = NamedDependency[Caller]
"""The caller, as a route asks for it."""
NOBODY: Final = Caller("nobody")


def connected_at(connection: ASGIConnection[Any, Any, Any, Any]) -> int:
    """When this connection was accepted, in UTC nanoseconds; 0 where no listener says."""
    since: int = connection.scope["state"].get(CONNECTED, 0)
    return since


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who asks on this connection."""
    caller: Caller = connection.scope["state"].get(GRANT, NOBODY)
    return caller


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request through to its route if the caller's scope reaches the route's."""
    scope: Scope | None = handler.opt.get("scope")
    if scope is not None:
        caller, what = caller_of(connection), f"{connection.scope.get('method')} {connection.scope['path']}"
        caller.need(scope, what)
        if handler.opt.get("local") and not caller.local:
            raise PermissionDeniedError(f"{what} is answered on the server's own machine only, by its admin socket")
    elif connection.scope["path"] not in OPEN:
        raise PermissionDeniedError("this route names no scope")
