"""What a server says of itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from ghostwire import __version__
from ghostwire.coordinator import View
from ghostwire.server.advertise import Advertised
from ghostwire.server.recovery import Recovery, RecoveryStatus


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker: its process, its sessions and connections, and the batches of its feed that it has yet to confirm."""

    pid: int
    sessions: int
    connections: int
    lag: int


class WorkersStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that stand, and how many died or were killed since the leader started."""

    standing: tuple[WorkerStatus, ...] = ()
    replaced: int = 0


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A server's state.

    `position` is the last durable change; `uptime_s` in seconds; `pin` is None where TLS ends elsewhere and where a
    certificate from files needs none. `workers` is empty where one process does everything; since
    the leader started, `workers_replaced` died or were killed.
    """

    version: str
    network: str
    url: str
    warning: str | None
    pin: str | None
    listen: str
    started_at: datetime
    uptime_s: float
    ready: bool
    nodes: int
    online: int
    sessions: int
    users: int
    position: int
    log: str
    boot: str
    certificate_until: datetime | None
    recovery: RecoveryStatus
    workers: tuple[WorkerStatus, ...]
    workers_replaced: int


class Reporter:
    """Knows what stays the same during a run, and whom to ask for the rest."""

    def __init__(
        self,
        network: str,
        listen: str,
        pin: str | None,
        advertised: Callable[[], Advertised],
        started: tuple[float, int],
    ) -> None:
        self.network, self.listen, self.pin = network, listen, pin
        self.ready = False
        self.certificate_until: datetime | None = None
        self.recovery = Recovery((), started[0])
        self._advertised = advertised
        self._started_mono, started_utc = started
        self._started_at = datetime.fromtimestamp(started_utc / 1e9, UTC)

    @property
    def url(self) -> Advertised:
        """The URL that new machines dial."""
        return self._advertised()

    def join_command(self, secret: str) -> str:
        """The line that joins a machine with this pre-auth key."""
        pin = ["--pin", self.pin] if self.pin else []
        return shlex.join(["ghostwire", "up", "--server", self.url.url, *pin, "--key", secret])

    def status(self, view: View, sessions: int, mono: float, workers: WorkersStatus) -> ServerStatus:
        """The state now."""
        url = self.url
        position = view.position()
        nodes = view.nodes()
        return ServerStatus(
            version=__version__,
            network=self.network,
            url=url.url,
            warning=url.warning,
            pin=self.pin,
            listen=self.listen,
            started_at=self._started_at,
            uptime_s=round(mono - self._started_mono, 3),
            ready=self.ready,
            nodes=len(nodes),
            online=sum(view.health(node.id).is_online for node in nodes),
            sessions=sessions,
            users=len(view.users()),
            position=position.seq,
            log=position.log.hex(),
            boot=position.boot.hex(),
            certificate_until=self.certificate_until,
            recovery=self.recovery.status(),
            workers=workers.standing,
            workers_replaced=workers.replaced,
        )
