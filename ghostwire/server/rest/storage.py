"""The durable store over the admin socket: what an operator orders of it on its own machine."""

from __future__ import annotations

from typing import Any

from litestar import Controller, post
from litestar.params import JSONBody

from ghostwire.server.rest.desk import AtDesk
from ghostwire.server.store.orders import Order, perform


class Storage(Controller):
    """The store of this server."""

    path = "/db"
    tags = ["store"]  # noqa: RUF012 - the framework's own way to say it

    @post("/", opt={"scope": "admin", "local": True}, status_code=200, summary="Order something of the store")
    async def order(self, desk: AtDesk, data: JSONBody[Order]) -> dict[str, Any]:
        """Back it up, check it, read it. Only the admin socket takes orders: they name folders of this machine."""
        return await perform(desk.durable, data)
