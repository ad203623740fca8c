"""What routes work with: the committed view, the driver, and what this server says of itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any, Final, TypeVar

from litestar.di import NamedDependency

from ghostwire.coordinator import View
from ghostwire.coordinator.policy_explain import Behind
from ghostwire.errors import NotFoundError, UnavailableError
from ghostwire.model.node import Node
from ghostwire.model.user import User
from ghostwire.server.driver import Build, Driver
from ghostwire.server.rest.views import NodeView
from ghostwire.server.status import Reporter
from ghostwire.server.store.store import ServerStore

Found = TypeVar("Found")
TURNS: Final = 8
"""Questions that have their turn, or wait for it, at a time."""
TURN_RETRY_S: Final = 5.0


class Desk:
    """One server's, shared by all requests."""

    __slots__ = ("_busy", "_turns", "driver", "durable", "exposition", "flows", "metrics", "reporter")

    def __init__(self, driver: Driver, reporter: Reporter, exposition: Callable[[], bytes], store: ServerStore) -> None:
        self.driver, self.reporter = driver, reporter
        self.exposition = exposition
        self.metrics, self.flows, self.durable = store.metrics, store.flows, store.durable
        self._busy = asyncio.Lock()
        self._turns = 0

    @property
    def view(self) -> View:
        """Committed state."""
        return self.driver.coordinator.view

    @property
    def utc(self) -> int:
        """Now, in UTC nanoseconds."""
        return self.driver.clock().utc

    async def ask(self, build: Build) -> Any:
        """What the coordinator replies to a command. Raises what it refuses with."""
        return await self.driver.ask(build)

    async def in_turn(self, begin: Callable[[], Coroutine[Any, Any, Found]]) -> Found:
        """One such thing at a time, of those that may take seconds and a lot of memory on another thread.

        Raises `UnavailableError` where too many wait for their turn: each holds what it asks about. A thread cannot be
        cancelled: whoever is, while it works, waits for its end, and the next turn with them.
        """
        if self._turns >= TURNS:
            raise UnavailableError("too many such questions wait already: come back later", retry_after=TURN_RETRY_S)
        self._turns += 1
        try:
            async with self._busy:
                working = asyncio.ensure_future(begin())
                try:
                    return await asyncio.shield(working)
                finally:
                    await asyncio.wait([working])
        finally:
            self._turns -= 1

    async def aside(self, work: Callable[..., Found], *arguments: Any) -> Found:
        """Do this on another thread, in its turn. Raises what `in_turn` does."""
        return await self.in_turn(lambda: asyncio.to_thread(work, *arguments))

    def place(self, reference: str) -> tuple[Node, Behind | None]:
        """The node with this id, name or address, or the one that serves a network with it."""
        try:
            address = ip_address(reference)
        except ValueError:
            domain = self.view.domain
            return self.node(reference.removesuffix(f".{domain}") if domain else reference), None
        return self.view.node_at(str(address))

    def node(self, reference: str) -> Node:
        """The node with this id, else with this name. Raises `NotFoundError`."""
        if _is_number(reference):
            with contextlib.suppress(NotFoundError):
                return self.view.node(int(reference))
        return self.view.node_by_name(reference)

    def user(self, reference: str) -> User:
        """The user with this id, else with this name. Raises `NotFoundError`."""
        if _is_number(reference):
            with contextlib.suppress(NotFoundError):
                return self.view.user(int(reference))
        return self.view.user_by_name(reference)

    def has_user(self, name: str) -> bool:
        """Whether there is a user with this name."""
        try:
            self.view.user_by_name(name)
        except NotFoundError:
            return False
        return True

    def owner(self, user_id: int | None) -> User | None:
        """The user with this id, where there is one."""
        return self.view.user(user_id) if user_id is not None else None

    def node_view(self, node: Node) -> NodeView:
        """What REST shows of a node."""
        view = self.view
        return NodeView.of(node, self.owner(node.user_id), view.health(node.id), view.endpoints(node.id))


def _is_number(reference: str) -> bool:
    return reference.isascii() and reference.isdigit() and len(reference) < 19


AtDesk = NamedDependency[Desk]
"""The desk, as a route asks for it."""
