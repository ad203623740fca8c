import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.coordinator import Settings
from ghostwire.coordinator.addresses import IpAllocator
from ghostwire.errors import ConflictError, ResourceExhaustedError, ValidationError


def allocator(ipv4: str = "100.64.0.0/10", ipv6: str = "fd7a:115c:a1e0::/48", **fields: object) -> IpAllocator:
    return IpAllocator(Settings(ipv4_pool=ipv4, ipv6_pool=ipv6, **fields), random.Random(1).randbytes)


def test_default_pools_are_walked_in_order() -> None:
    addresses = allocator()
    assert [addresses.allocate() for _ in range(2)] == [
        ("100.64.0.1", "fd7a:115c:a1e0::1"),
        ("100.64.0.2", "fd7a:115c:a1e0::2"),
    ]
    addresses.release("100.64.0.1")
    assert addresses.allocate()[0] == "100.64.0.3"


def test_random_allocation_draws_from_the_whole_pool() -> None:
    addresses = allocator(allocation="random")
    drawn = {addresses.allocate()[0] for _ in range(100)}
    assert len(drawn) == 100
    assert len({address.split(".")[1] for address in drawn}) > 20


@pytest.mark.parametrize(
    ("pool", "size"),
    [("10.0.0.0/8", 2**24 - 2), ("10.1.0.0/16", 2**16 - 2), ("10.1.0.0/30", 2), ("10.1.0.0/31", 2), ("10.1.0.1/32", 1)],
)
def test_pools_from_8_to_32(pool: str, size: int) -> None:
    addresses = allocator(pool)
    assert addresses.statistics()[0].size == size
    given_out = []
    for _ in range(min(size, 4)):
        given_out.append(addresses.allocate()[0])
    assert len(set(given_out)) == len(given_out)
    if size <= 4:
        with pytest.raises(ResourceExhaustedError, match=f"{pool} .* {size} addresses"):
            addresses.allocate()
        assert addresses.statistics()[1].used == size


@pytest.mark.parametrize("pool", ["10.0.0.0/7", "10.0.0.1/8", "x", "fd00::/64"])
def test_pools_that_are_none(pool: str) -> None:
    with pytest.raises(ValidationError):
        allocator(pool)


RESERVED = """
100.64.0.0 100.127.255.255 100.100.0.0 100.100.0.255 100.100.100.100 100.115.92.0 100.115.93.255
fd7a:115c:a1e0:: fd7a:115c:a1e0::53
"""


@pytest.mark.parametrize("address", RESERVED.split())
def test_reserved_addresses_are_never_given(address: str) -> None:
    with pytest.raises(ConflictError):
        allocator().claim(address)


def test_a_specific_address_is_claimed_once() -> None:
    addresses = allocator()
    addresses.claim("100.64.0.1")
    with pytest.raises(ConflictError):
        addresses.claim("100.64.0.1")
    assert addresses.allocate()[0] == "100.64.0.2"
    for outside in ("10.0.0.1", "fd00::1", "fd7a:115c:a1e0:ffff::1", "nonsense"):
        with pytest.raises(ValidationError):
            addresses.claim(outside)


@settings(deadline=None, max_examples=60)
@given(st.booleans(), st.lists(st.integers(-1, 40), max_size=120))
def test_no_address_is_with_two(at_random: bool, acts: list[int]) -> None:
    """Negative: allocate; others: release, rest or wake one of those given, as their number says."""
    addresses = allocator("10.3.0.0/28", allocation="random" if at_random else "sequential")
    held: list[str] = []
    resting: list[str] = []
    for act in acts:
        if act < 0 or not held:
            try:
                address = addresses.allocate()[0]
            except ResourceExhaustedError:
                assert len(held) + len(resting) == 14
                continue
            assert address not in held
            assert address not in resting
            held.append(address)
        elif act % 3 == 0 and resting:
            addresses.wake(resting.pop(act % len(resting)))
        elif act % 3 == 1:
            gone = held.pop(act % len(held))
            addresses.rest(gone)
            resting.append(gone)
        else:
            addresses.release(held.pop(act % len(held)))
        statistics = addresses.statistics()[0]
        assert (statistics.used, statistics.resting) == (len(held) + len(resting), len(resting))
