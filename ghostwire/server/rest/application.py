"""The REST application: every route, how it is guarded, and its description."""

from __future__ import annotations

from typing import Any, Final

from litestar import Litestar, Request, Router
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from ghostwire import __version__
from ghostwire.errors import InternalError
from ghostwire.server.observer import Observer
from ghostwire.server.rest.access import OPEN, Caller, caller_of, guard
from ghostwire.server.rest.access_requests import AccessRequests
from ghostwire.server.rest.described import Described
from ghostwire.server.rest.desk import Desk
from ghostwire.server.rest.flows import Flows
from ghostwire.server.rest.keys import PreauthKeys
from ghostwire.server.rest.nodes import Nodes
from ghostwire.server.rest.policy import PolicyRoutes
from ghostwire.server.rest.problem import handlers
from ghostwire.server.rest.state import Health, Metrics, Service
from ghostwire.server.rest.storage import Storage
from ghostwire.server.rest.tokens import Tokens
from ghostwire.server.rest.users import Users

GUARDED: Final = (Service, Nodes, Flows, Users, PreauthKeys, Tokens, PolicyRoutes, AccessRequests, Storage)
"""What stands below `/v1` and asks for a token."""


def application(desk: Desk | None, observer: Observer, body_bytes: int) -> Litestar:
    """The application over `desk` (None only describes it).

    Raises `InternalError` where a route names no scope and is not open to all.
    """

    async def provide_desk() -> Desk | None:
        return desk

    async def provide_caller(request: Request[Any, Any, Any]) -> Caller:
        return caller_of(request)

    made = Litestar(
        route_handlers=[
            Router("/v1", route_handlers=[Health]),
            Router(
                "/v1",
                route_handlers=[*GUARDED],
                security=[{"token": []}],
            ),
            Router("/", route_handlers=[Metrics], security=[{"token": []}]),
        ],
        dependencies={"desk": Provide(provide_desk), "caller": Provide(provide_caller)},
        guards=[guard],
        exception_handlers=handlers(observer),
        request_max_body_size=body_bytes,
        openapi_config=describe(),
        debug=False,
        logging_config=None,
        pdb_on_exception=False,
    )
    _require_scopes(made)
    return made


def describe() -> OpenAPIConfig:
    """How the interface introduces itself."""
    return OpenAPIConfig(
        title="Ghostwire coordinator",
        version=__version__,
        description="Operators' interface of a Ghostwire coordinator. Errors are problem documents (RFC 9457).",
        openapi_router=Router("/v1/openapi", route_handlers=[], opt={"scope": "read"}, include_in_schema=False),
        render_plugins=[Described()],
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http", scheme="bearer", description="A token of `ghostwire token create`."
                )
            }
        ),
    )


def _require_scopes(made: Litestar) -> None:
    for route in made.routes:
        for handler in getattr(route, "route_handlers", ()):
            # The framework's own answers to OPTIONS have no scope either, and the guard refuses them.
            if "scope" not in handler.opt and route.path not in OPEN and handler.http_methods != {"OPTIONS"}:
                raise InternalError(f"the route {route.path} names no scope")
