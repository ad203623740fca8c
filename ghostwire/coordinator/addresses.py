"""IpAllocator: which addresses nodes get, from one IPv4 and one IPv6 pool."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

from ghostwire._native import addresses, ipam
from ghostwire.coordinator.settings import Settings
from ghostwire.errors import ConflictError, ResourceExhaustedError, ValidationError

RESERVED: Final = (
    ip_network("100.100.0.0/24"),
    ip_network("100.100.100.100/32"),
    ip_network("100.115.92.0/23"),
    ip_network("fd7a:115c:a1e0::53/128"),
)
"""Never given: what clients of the field use for services of their own, and a Chromebook for its inner network."""

Address = IPv4Address | IPv6Address
_LOW: Final = (1 << 64) - 1


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One pool's addresses: `size` that may be given at all, of which `used` are with nodes or rest."""

    pool: str
    size: int
    used: int
    free: int
    resting: int


class Pool:
    """The addresses of one prefix. An address is the prefix's first one plus an index."""

    def __init__(self, prefix: str) -> None:
        try:
            self.network: IPv4Network | IPv6Network = ip_network(prefix)
        except ValueError as error:
            raise ValidationError(f"{prefix!r} is not a prefix: {error}") from error
        if self.network.version == 4 and self.network.prefixlen < 8:
            raise ValidationError(f"the pool {prefix} is larger than a /8")
        self._first = int(self.network.network_address)
        self._span = min(self.network.num_addresses, ipam.MAX_SIZE)
        self._bitmap = ipam.Bitmap(self._span)
        self._next = 0
        self.resting = 0
        self._reserve()
        self.size = self._bitmap.free

    def _reserve(self) -> None:
        if self.network.num_addresses > 2:
            self._bitmap.reserve(0)
            if self.network.version == 4:
                self._bitmap.reserve(self._span - 1)
        for block in RESERVED:
            if block.version != self.network.version:
                continue
            first = max(int(block.network_address) - self._first, 0)
            last = min(int(block.broadcast_address) - self._first, self._span - 1)
            if first <= last:
                self._bitmap.reserve(first, last - first + 1)

    def index(self, address: Address) -> int | None:
        """Where the address stands in the pool, None when it is not of it."""
        offset = int(address) - self._first
        return offset if address.version == self.network.version and 0 <= offset < self._span else None

    def take(self, draw: Callable[[], int] | None) -> str:
        """The next address in order, or by `draw` any free one. Raises `ResourceExhaustedError`."""
        if draw is None:
            index = self._bitmap.claim_next(self._next if self._next < self._span else 0)
            self._next = index + 1
        else:
            index = self._bitmap.claim_random(draw())
        if index < 0:
            self._next = 0
            raise ResourceExhaustedError(
                f"the address pool {self.network} is used up: all of its {self.size} addresses are given or rest"
            )
        return self._text(self._first + index)

    def _text(self, address: int) -> str:
        if self.network.version == 4:
            return addresses.text4(address)
        return addresses.text6(address >> 64, address & _LOW)

    def claim(self, address: Address) -> bool:
        """Take this address; whether it was free."""
        index = self.index(address)
        return index is not None and self._bitmap.claim(index)

    def release(self, address: Address) -> None:
        """Give an address back."""
        index = self.index(address)
        if index is not None:
            self._bitmap.release(index)

    def statistics(self) -> PoolStatistics:
        """How full it is."""
        free = self._bitmap.free
        return PoolStatistics(
            pool=str(self.network), size=self.size, used=self.size - free, free=free, resting=self.resting
        )


class IpAllocator:
    """Addresses in pairs: each node has one of either family."""

    def __init__(self, settings: Settings, entropy: Callable[[int], bytes]) -> None:
        self.ipv4 = Pool(settings.ipv4_pool)
        self.ipv6 = Pool(settings.ipv6_pool)
        if self.ipv4.network.version != 4 or self.ipv6.network.version != 6:
            raise ValidationError("ipv4_pool takes an IPv4 prefix and ipv6_pool an IPv6 prefix")
        self._given: set[str] = set()
        self._draw = (lambda: int.from_bytes(entropy(8), "big")) if settings.allocation == "random" else None

    @property
    def prefixes(self) -> tuple[str, str]:
        """Both pools."""
        return str(self.ipv4.network), str(self.ipv6.network)

    def allocate(self) -> tuple[str, str]:
        """A free IPv4 and a free IPv6 address, taken. Raises `ResourceExhaustedError`, and then takes none."""
        ipv4 = self.ipv4.take(self._draw)
        try:
            given = ipv4, self.ipv6.take(self._draw)
        except ResourceExhaustedError:
            self.release(ipv4)
            raise
        self._given.update(given)
        return given

    def claim(self, address: str) -> None:
        """Take this very address. Raises `ConflictError` when it is taken and `ValidationError` outside the pools."""
        parsed = _parse(address)
        pool = self._pool(parsed)
        if pool.index(parsed) is None:
            raise ValidationError(f"{address} is not in the pool {pool.network}")
        if not pool.claim(parsed):
            raise ConflictError(f"the address {address} is taken, resting or reserved")

    def restore(self, address: str, *, resting: bool = False) -> None:
        """Take an address that the committed state names; one outside the pools, from older settings, stays outside."""
        if address in self._given and not resting:
            self._given.discard(address)  # it was taken when it was given
            return
        parsed = _parse(address)
        pool = self._pool(parsed)
        if pool.claim(parsed) and resting:
            pool.resting += 1

    def rest(self, address: str) -> None:
        """A node's address is kept back for a while."""
        parsed = _parse(address)
        pool = self._pool(parsed)
        if pool.index(parsed) is not None:
            pool.resting += 1

    def wake(self, address: str) -> None:
        """An address has rested: it may be given again."""
        parsed = _parse(address)
        pool = self._pool(parsed)
        if pool.index(parsed) is not None:
            pool.resting -= 1
            pool.release(parsed)

    def release(self, address: str) -> None:
        """Give back an address that no node ever came to have."""
        self._given.discard(address)
        parsed = _parse(address)
        self._pool(parsed).release(parsed)

    def statistics(self) -> tuple[PoolStatistics, PoolStatistics]:
        """How full both pools are."""
        return self.ipv4.statistics(), self.ipv6.statistics()

    def _pool(self, address: Address) -> Pool:
        return self.ipv4 if address.version == 4 else self.ipv6


def _parse(address: str) -> Address:
    try:
        return ip_address(address)
    except ValueError as error:
        raise ValidationError(f"{address!r} is not an address") from error
