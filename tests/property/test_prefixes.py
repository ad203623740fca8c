"""Longest-prefix match against its twin: nested, adjacent, whole and single prefixes, and the edges of everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire._native import prefixes as intervals
from ghostwire.errors import ValidationError
from tests.reference.prefixes import longest

MANY = 1_000_000
EDGES4 = [0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFEFFFF, 0xFFFFFFFE, 0xFFFFFFFF]
NETWORKS4 = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from(EDGES4), st.integers(0x0A000000, 0x0A0001FF))
PREFIXES4 = st.lists(st.tuples(NETWORKS4, st.integers(0, 32), st.integers(0, 99)), max_size=30)
EDGES6 = [0, 1, 2**64 - 1, 2**64, 2**127, 2**128 - 1]
NETWORKS6 = st.one_of(
    st.integers(0, 2**128 - 1), st.sampled_from(EDGES6), st.integers(0xFD << 120, (0xFD << 120) + 300)
)
PREFIXES6 = st.lists(st.tuples(NETWORKS6, st.integers(0, 128), st.integers(0, 99)), max_size=30)


def prefixes4(given_prefixes):
    columns = [list(column) for column in zip(*given_prefixes, strict=True)] or [[], [], []]
    return intervals.Prefixes4(
        *(np.array(c, t) for c, t in zip(columns, (np.uint32, np.uint8, np.uint32), strict=True))
    )


def near(prefixes, width):
    """Both ends of every prefix and their neighbours."""
    for network, length, _ in prefixes:
        host = (1 << (width - length)) - 1
        for end in (network & ~host, network | host):
            yield from ((end + step) % (1 << width) for step in (-1, 0, 1))


@settings(max_examples=300, deadline=None)
@given(PREFIXES4, st.lists(NETWORKS4, max_size=10))
def test_the_longest_ipv4_prefix_is_found(prefixes, asked):
    table = prefixes4(prefixes)
    addresses = [*asked, *EDGES4, *near(prefixes, 32)]
    expected = [longest(prefixes, address, 32) for address in addresses]
    assert [table.find(address) for address in addresses] == expected
    assert table.find_many(np.array(addresses, np.uint32)).tolist() == expected


@settings(max_examples=300, deadline=None)
@given(PREFIXES6, st.lists(NETWORKS6, max_size=10))
def test_the_longest_ipv6_prefix_is_found(prefixes, asked):
    table = intervals.Prefixes6(prefixes)
    for address in [*asked, *EDGES6, *near(prefixes, 128)]:
        assert table.find(address.to_bytes(16, "big")) == longest(prefixes, address, 128)


def test_a_million_addresses():
    draw = np.random.default_rng(4)
    lengths = np.concatenate([draw.integers(0, 33, 300), [0, 32, 32]]).astype(np.uint8)
    networks = np.concatenate(
        [draw.integers(0, 2**32, 150), 10 << 24 | draw.integers(0, 2**12, 150), [0, 0, 2**32 - 1]]
    )
    given_prefixes = sorted(zip(lengths.tolist(), range(len(lengths)), networks.tolist(), strict=True))
    beside = draw.choice(networks, MANY) + draw.integers(-1, 2, MANY)
    asked = np.where(draw.random(MANY) < 0.9, beside, draw.integers(0, 2**32, MANY)) & 0xFFFFFFFF
    expected = np.full(MANY, intervals.NOTHING, np.uint32)
    for length, value, network in given_prefixes:
        expected[asked >> (32 - length) == network >> (32 - length)] = value
    table = intervals.Prefixes4(networks.astype(np.uint32), lengths, np.arange(len(lengths), dtype=np.uint32))
    assert (table.find_many(asked.astype(np.uint32)) == expected).all()


def test_what_does_not_fit_together_is_refused():
    one, two = np.zeros(1, np.uint32), np.zeros(2, np.uint32)
    with pytest.raises(ValidationError):
        intervals.Prefixes4(one, two.astype(np.uint8), one)
    with pytest.raises(ValidationError):
        intervals.Prefixes4(one, np.array([33], np.uint8), one)
    with pytest.raises(ValidationError):
        intervals.Prefixes6([]).find(b"1234")
