"""What can be set: sections, keys, types, defaults and what each key means. The single definition of all of these.

The example file, `config show`, the environment's names and the checks are all made from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ghostwire.server.config.units import Duration, Size


class ServerSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where the coordinator listens, and by which names it is reached."""

    listen_addr: Annotated[str, Meta(description="ADDRESS:PORT to listen on; IPv6 in brackets.")] = "0.0.0.0:8443"
    public_urls: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins by which machines reach it; join commands show the first.",
            examples=[["https://gw.example.com:8443"]],
        ),
    ] = ()
    tls: Annotated[Literal["on", "off"], Meta(description="off needs a loopback listen_addr or behind_proxy.")] = "on"
    tls_cert: Annotated[
        Path | None,
        Meta(
            description="Certificate chain (PEM). Without one, a self-signed one is made and pinned.",
            examples=["/etc/ghostwire/cert.pem"],
        ),
    ] = None
    tls_key: Annotated[Path | None, Meta(description="Its private key (PEM).", examples=["/etc/ghostwire/key.pem"])] = (
        None
    )
    behind_proxy: Annotated[bool, Meta(description="A proxy in front ends TLS.")] = False
    workers: Annotated[
        int, Meta(description="Processes that share the port, each for 19000 sessions; 0: all in one.", ge=0, le=64)
    ] = 0
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Prefixes of proxies whose forwarded headers count.", examples=[["127.0.0.1/32"]]),
    ] = ()
    admin_uids: Annotated[
        tuple[int, ...],
        Meta(description="Users who may use the admin socket, beside root and the server's own.", examples=[[1000]]),
    ] = ()


class NetworkSection(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses, names and signs of life."""

    ipv4_range: Annotated[str, Meta(description="Pool of IPv4 addresses, up to a /8.")] = "100.64.0.0/10"
    ipv6_range: Annotated[str, Meta(description="Pool of IPv6 addresses, up to a /32.")] = "fd7a:115c:a1e0::/48"
    allocation: Annotated[
        Literal["sequential", "random"], Meta(description="How addresses are chosen from the pools.")
    ] = "sequential"
    address_rest: Annotated[Duration, Meta(description="How long a released address stays unused.")] = Duration(86400)
    ephemeral_address_rest: Annotated[Duration, Meta(description="The same for an ephemeral node's.")] = Duration(3600)
    id: Annotated[str, Meta(description="Names this network in proofs and maps.")] = "ghostwire"
    domain: Annotated[str, Meta(description="The mesh's domain: nodes are NAME.DOMAIN.")] = "mesh.ghost"
    keepalive_interval: Annotated[Duration, Meta(description="How often nodes send a heartbeat.")] = Duration(30)
    silence: Annotated[Duration, Meta(description="How long a node may be silent before its grace begins.")] = Duration(
        60
    )
    grace: Annotated[Duration, Meta(description="How long grace lasts before a node counts as offline.")] = Duration(60)
    max_age: Annotated[
        Duration, Meta(description="How long agents keep their peers without reaching the coordinator.")
    ] = Duration(7 * 86400)


class AuthSection(msgspec.Struct, frozen=True, kw_only=True):
    """How long credentials live."""

    session_timeout: Annotated[Duration, Meta(description="Life of a session token; it slides.")] = Duration(86400)
    node_expiry: Annotated[Duration, Meta(description="Life of a node key from its registration; 0s: for ever.")] = (
        Duration(0)
    )
    ephemeral_idle: Annotated[
        Duration, Meta(description="How long an ephemeral node may be away before it is removed.")
    ] = Duration(1800)
    key_rotation: Annotated[Duration, Meta(description="How often nodes rotate their keys; 0s: when told.")] = Duration(
        0
    )


class DatabaseSection(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded encrypted store."""

    path: Annotated[
        Path | None,
        Meta(
            description="The store's file. Unset: ghostwire.db in the data folder.",
            examples=["/var/lib/ghostwire/db.sqlite"],
        ),
    ] = None
    cache_size: Annotated[Size, Meta(description="Largest page cache of the store's writer.")] = Size(256 * 1024 * 1024)
    parallel_writes: Annotated[
        bool, Meta(description="Changes that arrive together share one sync. It cannot be turned off.")
    ] = True
    key_file: Annotated[
        Path | None,
        Meta(
            description="The store's key file. Unset: systemd's credential ghostwire.store-key, else DIR/store.key.",
            examples=["/etc/ghostwire/store.key"],
        ),
    ] = None
    passphrase_file: Annotated[
        Path | None,
        Meta(
            description="File with a passphrase from which the key is derived (Argon2id), instead of key_file.",
            examples=["/run/secrets/ghostwire"],
        ),
    ] = None


class ReplicationSection(msgspec.Struct, frozen=True, kw_only=True):
    """Standbys: copies of the store on other machines, ready to take over (`ghostwire db replicate`)."""

    listen_addr: Annotated[
        str | None,
        Meta(description="ADDRESS:PORT on which standbys follow the store. Unset: none do.", examples=["0.0.0.0:7443"]),
    ] = None
    key_file: Annotated[
        Path | None,
        Meta(
            description="This end's key and certificate (`ghostwire db keygen link`).",
            examples=["/etc/ghostwire/primary.key"],
        ),
    ] = None
    standbys: Annotated[
        tuple[str, ...],
        Meta(description="Files with the certificates of its standbys.", examples=[["/etc/ghostwire/standby.pub"]]),
    ] = ()
    confirmed: Annotated[bool, Meta(description="An answer waits until a standby has the change on its disk, too.")] = (
        False
    )


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what strangers and members may use."""

    head_size: Annotated[Size, Meta(description="Largest head of a request.")] = Size(16 * 1024)
    head_time: Annotated[Duration, Meta(description="Time for a request's head to arrive.")] = Duration(10)
    body_size: Annotated[Size, Meta(description="Largest body of a request.")] = Size(1024 * 1024)
    body_time: Annotated[Duration, Meta(description="Time for a request's body to arrive.")] = Duration(30)
    handshakes: Annotated[int, Meta(description="Connections that may stand before their first request.", ge=1)] = 512
    handshakes_per_address: Annotated[int, Meta(description="The same for one address (IPv6: /64).", ge=1)] = 256
    failures_per_second: Annotated[
        float, Meta(description="Connections of one address (IPv6: /64) that may turn out no good, on average.", gt=0)
    ] = 4.0
    failures_burst: Annotated[int, Meta(description="The same at once; then more are turned away.", ge=1)] = 100
    unproved_time: Annotated[Duration, Meta(description="How long a node may take to prove its key.")] = Duration(20)
    connections: Annotated[int, Meta(description="Connections in all.", ge=1)] = 18_000
    http_connections: Annotated[int, Meta(description="Of those, connections that are no node's.", ge=1)] = 1024
    http_connections_per_address: Annotated[int, Meta(description="The same for one address (IPv6: /64).", ge=1)] = 256
    messages_per_second: Annotated[float, Meta(description="Frames a second of one session, on average.", gt=0)] = 50.0
    messages_burst: Annotated[int, Meta(description="Frames that one session may send at once.", ge=1)] = 200
    unread_size: Annotated[Size, Meta(description="What may wait for a slow reader before it is resynced.")] = Size(
        256 * 1024
    )


class LoggingSection(msgspec.Struct, frozen=True, kw_only=True):
    """The log, on stderr."""

    level: Annotated[
        Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"],
        Meta(description="The least important level that is written. Addresses appear at DEBUG and TRACE only."),
    ] = "INFO"
    format: Annotated[
        Literal["auto", "console", "json"], Meta(description="auto: console on a terminal, else json.")
    ] = "auto"


class TelemetrySection(msgspec.Struct, frozen=True, kw_only=True):
    """Traces for an OpenTelemetry collector. Metrics are at /metrics always."""

    otlp_endpoint: Annotated[
        str | None,
        Meta(
            description="OTLP over HTTP. Unset: no traces. Needs the extra `otel`.", examples=["http://localhost:4318"]
        ),
    ] = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    server: ServerSection = ServerSection()
    network: NetworkSection = NetworkSection()
    auth: AuthSection = AuthSection()
    database: DatabaseSection = DatabaseSection()
    replication: ReplicationSection = ReplicationSection()
    limits: LimitsSection = LimitsSection()
    logging: LoggingSection = LoggingSection()
    telemetry: TelemetrySection = TelemetrySection()
