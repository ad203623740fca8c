"""How this server is known: its TLS identity, its origins, and what proofs are checked against."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ghostwire.coordinator.settings import Settings
from ghostwire.errors import ValidationError
from ghostwire.server.advertise import Advertised, advertise, certificate_names, default_route_source, local_addresses
from ghostwire.server.listen import tls
from ghostwire.server.listen.endpoint import Endpoint, bracketed, host_of, parse_listen, parse_origin
from ghostwire.server.options import ServeOptions
from ghostwire.wire.keys import clamp
from ghostwire.wire.server_session import Gate


@dataclass(frozen=True, slots=True)
class Naming:
    """Where the server listens and by which origins it is dialled."""

    listen: Endpoint
    public: tuple[str, ...]
    scheme: str

    @classmethod
    def of(cls, options: ServeOptions) -> Naming:
        """The naming that the options ask for. Raises `ValidationError` for options that contradict each other."""
        listen = parse_listen(options.listen)
        public = tuple(parse_origin(url) for url in options.public_urls)
        if (options.tls_cert is None) != (options.tls_key is None):
            raise ValidationError("--tls-cert and --tls-key belong together")
        if not options.tls_off:
            return cls(listen, public, "https")
        if options.tls_cert is not None:
            raise ValidationError("--tls off and --tls-cert contradict each other")
        if not listen.is_loopback and not options.behind_proxy:
            raise ValidationError(
                f"--tls off on {listen} would let anyone read along: listen on loopback, or say --behind-proxy where "
                "a proxy ends TLS"
            )
        if options.behind_proxy and not public:
            raise ValidationError("--behind-proxy needs --url: nodes prove themselves to the origin that they dialled")
        return cls(listen, public, "http")

    def at(self, listen: Endpoint) -> Naming:
        """The same, listening at the port that was taken."""
        return Naming(listen, self.public, self.scheme)

    def origins(self) -> frozenset[str]:
        """Every origin that a node may have dialled where TLS does not end here."""
        own = set(self.public)
        hosts = {"127.0.0.1", "localhost", "::1"} if self.listen.is_loopback else set()
        if not self.listen.is_any and self.scheme == "http":
            hosts.add(self.listen.host)
        own.update(f"{self.scheme}://{bracketed(host)}:{self.listen.port}" for host in hosts)
        return frozenset(own)

    def answers_to(self) -> frozenset[str]:
        """Every origin under which requests are answered: those, and where it listens by name."""
        own = f"{self.scheme}://{bracketed(self.listen.host)}:{self.listen.port}"
        return self.origins() if self.listen.is_any else self.origins() | {own}

    def reserving(self, settings: Settings) -> Settings:
        """The settings with what this server is called among the names that no node may take."""
        hosts = [host_of(origin) for origin in self.public] + [self.listen.host.lower()]
        own = tuple(host.partition(".")[0] for host in hosts if host and not _is_address(host))
        return msgspec.structs.replace(settings, reserved_names=(*settings.reserved_names, *own))

    def advertised(self) -> Advertised:
        """The URL for new machines."""
        scheme = self.scheme
        return advertise(self.listen, scheme, self.public, default_route_source, local_addresses)

    def certificate_names(self) -> list[str]:
        """What a self-signed certificate names."""
        return certificate_names(self.listen, self.public, local_addresses())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def tls_identity(options: ServeOptions, naming: Naming, utc: int) -> tls.Identity | None:
    """The TLS identity; None where TLS ends elsewhere. Raises `ValidationError` for files that are none."""
    if options.tls_off:
        return None
    if options.tls_cert is not None and options.tls_key is not None:
        return tls.from_files(options.tls_cert, options.tls_key)
    return tls.self_signed(options.data, naming.certificate_names(), datetime.fromtimestamp(utc / 1e9, UTC))


def open_gate(
    options: ServeOptions, naming: Naming, identity: tls.Identity | None, entropy: Callable[[int], bytes]
) -> Gate:
    """What node proofs are checked against, with a challenge key that this process alone ever has."""
    spki = identity.spki if identity is not None else b""
    return Gate.open(options.settings.network_id, clamp(entropy(32)), spki, naming.origins())
