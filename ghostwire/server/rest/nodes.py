"""Nodes over REST: list, look, rename, expire, remove, tags, routes, rotation, map."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, delete, get, patch, post
from litestar.params import JSONBody, Parameter

from ghostwire.coordinator.commands import (
    ApproveRoutes,
    DeleteNode,
    ExpireNode,
    OrderRotation,
    RenameNode,
    SetNodeStatus,
    TagNode,
)
from ghostwire.errors import ValidationError
from ghostwire.model.filter import FilterRule, SightEnd
from ghostwire.model.time import SECOND
from ghostwire.server.rest.access import FromCaller
from ghostwire.server.rest.desk import AtDesk
from ghostwire.server.rest.stretch import From, To, stretch
from ghostwire.server.rest.views import HealthView, MetricsView, NodeDetails, NodeList, NodeView, View
from ghostwire.wire.netmap import NetMap, Network, Peer, SelfNode

PAGE = 1000
STEPS: Final = 120
"""How many steps a stretch of metrics is cut into where nobody says."""

NodeRef = Annotated[str, Parameter(description="A node's id or name.", max_length=253)]


class NodeChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a node; what is left out stays. Tags need the scope `admin`."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    tags: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    approved_routes: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    maintenance: bool | msgspec.UnsetType = msgspec.UNSET


class NetMapView(View, frozen=True, kw_only=True):
    """A node's map as it stands at the coordinator."""

    digest: str
    seq: int
    vseq: int
    own: SelfNode
    peers: list[Peer]
    rules: tuple[FilterRule, ...]
    ends: tuple[SightEnd, ...]
    owners: dict[int, str]
    network: Network

    @classmethod
    def of(cls, netmap: NetMap) -> NetMapView:
        """The view of a map."""
        position, rules = netmap.position, netmap.filter()
        return cls(
            digest=netmap.digest.hex(),
            seq=position.seq if position else 0,
            vseq=position.vseq if position else 0,
            own=netmap.own(),
            peers=netmap.all_peers(),
            rules=rules.rules,
            ends=rules.ends,
            owners=netmap.owners(),
            network=netmap.network(),
        )


class Nodes(Controller):
    """The nodes of the network."""

    path = "/nodes"
    tags = ["nodes"]  # noqa: RUF012 - the framework's own way to say it

    @get("/", opt={"scope": "read"}, summary="List nodes")
    async def list(
        self,
        desk: AtDesk,
        user: Annotated[str | None, Parameter(description="Only nodes of the user with this name.")] = None,
        online: Annotated[bool | None, Parameter(description="Only nodes that are, or are not, online.")] = None,
        after: Annotated[int, Parameter(ge=0, le=2**53 - 1, description="Only nodes with a higher id.")] = 0,
        limit: Annotated[int, Parameter(ge=1, le=PAGE, description="How many.")] = PAGE,
    ) -> NodeList:
        """Nodes by id, a page at a time."""
        view = desk.view
        wanted = desk.view.user_by_name(user).id if user is not None else None
        found = [
            node
            for node in view.nodes()
            if (wanted is None or node.user_id == wanted)
            and (online is None or view.health(node.id).is_online == online)
        ]
        page = [node for node in found if node.id > after]
        more = len(page) > limit
        page = page[:limit]
        return NodeList(
            nodes=[desk.node_view(node) for node in page], total=len(found), next=page[-1].id if more else None
        )

    @get("/{node:str}", opt={"scope": "read"}, summary="Look at a node")
    async def show(self, desk: AtDesk, node: NodeRef) -> NodeDetails:
        """One node."""
        found = desk.node(node)
        return NodeDetails.of_view(desk.node_view(found), found.metadata)

    @get("/{node:str}/health", opt={"scope": "read"}, summary="How a node is")
    async def health(self, desk: AtDesk, node: NodeRef) -> HealthView:
        """A node's liveness and the last metrics that it told."""
        found = desk.node(node)
        return HealthView.of(desk.view.health(found.id), desk.view.metrics(found.id))

    @get("/{node:str}/metrics", opt={"scope": "read"}, summary="How a node was")
    async def metrics(
        self,
        desk: AtDesk,
        node: NodeRef,
        since: From = None,
        until: To = None,
        step: Annotated[
            int | None,
            Parameter(ge=1, le=90 * 86400, description="Seconds that a point sums up; 120 points if left out."),
        ] = None,
    ) -> MetricsView:
        """The metrics that a node told with its heartbeats: for a week as they came, for 90 days by 5 minutes."""
        found = desk.node(node)
        start, end = stretch(since, until, desk.utc)
        step_ns = step * SECOND if step is not None else -(-(end - start) // STEPS // SECOND) * SECOND
        points = await desk.metrics.points(found.id, start, end, step_ns)
        return MetricsView.of(found.id, (start, end, step_ns), points)

    @get("/{node:str}/netmap", opt={"scope": "read"}, summary="A node's map")
    async def netmap(self, desk: AtDesk, node: NodeRef) -> NetMapView:
        """What a node knows of its network."""
        return NetMapView.of(desk.view.netmap(desk.node(node).id))

    @patch("/{node:str}", opt={"scope": "write"}, summary="Change a node")
    async def change(self, desk: AtDesk, caller: FromCaller, node: NodeRef, data: JSONBody[NodeChange]) -> NodeView:
        """Change one thing of a node: its name, tags, approved routes or maintenance."""
        found = desk.node(node)
        given = [field for field in data.__struct_fields__ if getattr(data, field) is not msgspec.UNSET]
        if len(given) != 1:
            raise ValidationError("change exactly one of name, tags, approved_routes, maintenance at a time")
        if given == ["tags"]:
            caller.need("admin", "changing tags")
        common = {"actor": caller.actor, "node": found.id}
        return desk.node_view(await desk.ask(lambda op: _command(data, {"op": op, **common})))

    @delete("/{node:str}", opt={"scope": "write"}, summary="Remove a node")
    async def remove(self, desk: AtDesk, caller: FromCaller, node: NodeRef) -> None:
        """Remove a node: its key is refused for ever, its peers cut it at once."""
        found = desk.node(node)
        await desk.ask(lambda op: DeleteNode(op=op, actor=caller.actor, node=found.id))

    @post("/{node:str}/expire", opt={"scope": "write"}, status_code=200, summary="End a node's key")
    async def expire(self, desk: AtDesk, caller: FromCaller, node: NodeRef) -> NodeView:
        """End a node's key: it must register again with a pre-auth key."""
        found = desk.node(node)
        return desk.node_view(await desk.ask(lambda op: ExpireNode(op=op, actor=caller.actor, node=found.id)))

    @post("/{node:str}/rotate", opt={"scope": "write"}, status_code=202, summary="Have a node rotate its key")
    async def rotate(self, desk: AtDesk, caller: FromCaller, node: NodeRef) -> None:
        """Tell a node to rotate its key: now, or when it next connects. The order stands until the new key has come."""
        found = desk.node(node)
        await desk.ask(lambda op: OrderRotation(op=op, actor=caller.actor, node=found.id))


def _command(data: NodeChange, common: dict[str, Any]) -> Any:
    if data.name is not msgspec.UNSET:
        return RenameNode(**common, name=data.name)
    if data.tags is not msgspec.UNSET:
        return TagNode(**common, tags=data.tags)
    if data.approved_routes is not msgspec.UNSET:
        return ApproveRoutes(**common, routes=data.approved_routes)
    return SetNodeStatus(**common, status="maintenance" if data.maintenance else "active")
