"""From the configuration to what the server takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ghostwire.coordinator.settings import Settings
from ghostwire.errors import ValidationError
from ghostwire.server.config.schema import Config, ReplicationSection
from ghostwire.server.options import Limits, Replication, ServeOptions
from ghostwire.server.store import passphrase

CREDENTIAL = "ghostwire.store-key"
"""The name under which systemd hands over the store's key (`LoadCredential=`)."""


def serve_options(config: Config, data: Path, environment: Mapping[str, str]) -> ServeOptions:
    """The options of a server whose folder is `data`.

    The store's key comes from `database.key_file`, else a systemd credential, else `database.passphrase_file`, else
    the server makes one in its folder. Raises ValidationError for files that cannot be read and for keys that
    contradict each other.
    """
    server, database = config.server, config.database
    if (server.tls_cert is None) != (server.tls_key is None):
        raise ValidationError("server.tls_cert and server.tls_key (--tls-cert, --tls-key) belong together: set both.")
    if server.tls == "off" and server.tls_cert is not None:
        raise ValidationError("server.tls is off, yet server.tls_cert is set: unset one of them.")
    if database.key_file is not None and database.passphrase_file is not None:
        raise ValidationError("database.key_file and database.passphrase_file are both set: unset one of them.")
    if not database.parallel_writes:
        raise ValidationError(
            "database.parallel_writes cannot be false: one writer commits changes that arrive together in one sync."
        )
    replication = config.replication
    if replication.listen_addr is not None and (replication.key_file is None or not replication.standbys):
        raise ValidationError(
            "replication.listen_addr is set: set replication.key_file and replication.standbys, too "
            "(`ghostwire db keygen link` makes the files)."
        )
    passphrase.check(database.passphrase_file)
    configured = database.key_file or database.passphrase_file
    return ServeOptions(
        data=data,
        settings=coordinator_settings(config),
        listen=server.listen_addr,
        public_urls=server.public_urls,
        tls_cert=server.tls_cert,
        tls_key=server.tls_key,
        tls_off=server.tls == "off",
        behind_proxy=server.behind_proxy,
        trusted_proxies=server.trusted_proxies,
        admin_uids=server.admin_uids,
        store_key=database.key_file,
        store_credential=CREDENTIAL if configured is None and credential(environment) is not None else None,
        passphrase_file=database.passphrase_file,
        database=database.path,
        cache_bytes=database.cache_size,
        replication=_replication(replication),
        workers=server.workers,
        limits=limits(config),
    )


def _replication(section: ReplicationSection) -> Replication | None:
    if section.listen_addr is None or section.key_file is None:
        return None
    return Replication(
        listen=section.listen_addr,
        key_file=section.key_file,
        standbys=tuple(map(Path, section.standbys)),
        confirmed=section.confirmed,
    )


def coordinator_settings(config: Config) -> Settings:
    """The coordinator's part."""
    network, auth = config.network, config.auth
    return Settings(
        network_id=network.id,
        domain=network.domain,
        ipv4_pool=network.ipv4_range,
        ipv6_pool=network.ipv6_range,
        allocation=network.allocation,
        rest_s=network.address_rest,
        ephemeral_rest_s=network.ephemeral_address_rest,
        heartbeat_s=network.keepalive_interval,
        silence_s=network.silence,
        grace_s=network.grace,
        session_timeout_s=auth.session_timeout,
        node_expiry_s=auth.node_expiry,
        key_rotation_s=auth.key_rotation,
        max_age_s=network.max_age,
        ephemeral_idle_s=auth.ephemeral_idle,
    )


def limits(config: Config) -> Limits:
    """The listener's part."""
    bounds = config.limits
    return Limits(
        head_bytes=bounds.head_size,
        head_s=bounds.head_time,
        body_bytes=bounds.body_size,
        body_s=bounds.body_time,
        handshakes=bounds.handshakes,
        handshakes_per_address=bounds.handshakes_per_address,
        failures_per_s=bounds.failures_per_second,
        failures_burst=bounds.failures_burst,
        unproved_s=bounds.unproved_time,
        connections=bounds.connections,
        http_connections=bounds.http_connections,
        http_connections_per_address=bounds.http_connections_per_address,
        messages_per_s=bounds.messages_per_second,
        messages_burst=bounds.messages_burst,
        unread_bytes=bounds.unread_size,
    )


def credential(environment: Mapping[str, str]) -> Path | None:
    """The file in which systemd hands over the store's key, None where it does not.

    Its modes say little (an ACL shows as a group that may read), and its folder lets nobody else in.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder, CREDENTIAL) if folder else None
    return file if file is not None and file.is_file() else None
