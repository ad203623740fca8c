"""What nodes exchanged, over REST."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import Controller, get
from litestar.params import Parameter

from ghostwire.errors import NotFoundError
from ghostwire.server.rest.desk import AtDesk, Desk
from ghostwire.server.rest.stretch import From, To, stretch
from ghostwire.server.rest.views import View, moment
from ghostwire.server.store.flows import PairFlow


class FlowView(View, frozen=True, kw_only=True):
    """What `node` received from `peer` and sent to it, as it told it itself. A name is None once the node is gone."""

    node_id: int
    node: str | None
    peer_id: int
    peer: str | None
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int


class FlowsView(View, frozen=True, kw_only=True):
    """Flows over a stretch of time, those of most bytes first."""

    since: datetime | None
    until: datetime | None
    flows: list[FlowView]


class Flows(Controller):
    """Traffic between nodes."""

    path = "/flows"
    tags = ["nodes"]  # noqa: RUF012 - the framework's own way to say it

    @get("/", opt={"scope": "read"}, summary="What nodes exchanged")
    async def flows(
        self,
        desk: AtDesk,
        node: Annotated[
            str | None, Parameter(description="Only what the node with this id or name told.", max_length=253)
        ] = None,
        since: From = None,
        until: To = None,
    ) -> FlowsView:
        """Traffic of each node with each of its peers: for a week as it was told, for 90 days by 5 minutes.

        Each end tells its own side. An answer has up to 10,000 pairs; where there are more, name a node.
        """
        asked = None if node is None else desk.node(node).id
        times = stretch(since, until, desk.utc)
        found = await desk.in_turn(lambda: desk.flows.totals(asked, times.since, times.until))
        return FlowsView(
            since=moment(times.since), until=moment(times.until), flows=[_view(desk, each) for each in found]
        )


def _view(desk: Desk, each: PairFlow) -> FlowView:
    told = each.flow
    return FlowView(
        node_id=each.node,
        node=_name(desk, each.node),
        peer_id=each.peer,
        peer=_name(desk, each.peer),
        rx_packets=told.rx_packets,
        rx_bytes=told.rx_bytes,
        tx_packets=told.tx_packets,
        tx_bytes=told.tx_bytes,
    )


def _name(desk: Desk, node: int) -> str | None:
    try:
        return desk.view.node(node).name
    except NotFoundError:
        return None
