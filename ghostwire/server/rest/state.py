"""The server itself over REST: health, version, status, addresses, metrics."""

from __future__ import annotations

import msgspec
from litestar import Controller, Response, get
from litestar.datastructures import ResponseHeader

from ghostwire import __version__
from ghostwire.coordinator.addresses import PoolStatistics
from ghostwire.errors import UnavailableError
from ghostwire.server.rest.desk import AtDesk
from ghostwire.server.status import ServerStatus


class Word(msgspec.Struct, frozen=True):
    """One word of state."""

    status: str


class Version(msgspec.Struct, frozen=True):
    """Which release answers."""

    version: str


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """The address pools: how many each can give, has given, and lets rest."""

    ipv4: PoolStatistics
    ipv6: PoolStatistics


class Health(Controller):
    """What anyone may ask."""

    path = "/"
    tags = ["server"]  # noqa: RUF012 - the framework's own way to say it

    @get("/health/live", summary="Whether the process answers")
    async def live(self) -> Word:
        """It does."""
        return Word("live")

    @get("/health/ready", summary="Whether the server takes requests")
    async def ready(self, desk: AtDesk) -> Word:
        """Ready once its state is loaded, until it stops or its store has failed."""
        if not desk.reporter.ready:
            raise UnavailableError("the server starts or stops", retry_after=1.0)
        return Word("ready")

    @get("/version", summary="Which release answers")
    async def version(self) -> Version:
        """The release."""
        return Version(__version__)


class Service(Controller):
    """The server itself."""

    path = "/"
    tags = ["server"]  # noqa: RUF012 - the framework's own way to say it

    @get("/status", opt={"scope": "read"}, summary="How the server is")
    async def status(self, desk: AtDesk) -> ServerStatus:
        """The server's state."""
        driver = desk.driver
        return desk.reporter.status(desk.view, len(driver.outlet), driver.clock().mono, driver.outlet.workers())

    @get("/addresses", opt={"scope": "read"}, summary="The address pools")
    async def addresses(self, desk: AtDesk) -> Addresses:
        """How full the pools are."""
        ipv4, ipv6 = desk.view.addresses()
        return Addresses(ipv4=ipv4, ipv6=ipv6)


class Metrics(Controller):
    """For Prometheus."""

    path = "/metrics"
    tags = ["server"]  # noqa: RUF012 - the framework's own way to say it

    @get(
        "/",
        opt={"scope": "read"},
        summary="Metrics",
        media_type="text/plain",
        response_headers=[ResponseHeader(name="content-type", documentation_only=True)],
    )
    async def metrics(self, desk: AtDesk) -> Response[bytes]:
        """Everything that is counted, in Prometheus' text format."""
        return Response(desk.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
