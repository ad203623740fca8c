"""Address look-ups against their twins: nested, adjacent, whole and single prefixes, and the edges of everything."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire._native import cidr
from ghostwire.errors import ValidationError
from tests.reference.cidr import first_match, longest

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
    return cidr.Prefixes4(*(np.array(c, t) for c, t in zip(columns, (np.uint32, np.uint8, np.uint32), strict=True)))


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
    table = cidr.Prefixes6(prefixes)
    for address in [*asked, *EDGES6, *near(prefixes, 128)]:
        assert table.find(address.to_bytes(16, "big")) == longest(prefixes, address, 128)


def spans(values):
    return st.tuples(values, values).map(sorted).map(tuple)


COORDINATES = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from(EDGES4), st.integers(0, 20))
PORTS = st.one_of(st.integers(0, 65535), st.sampled_from([0, 1, 65535]))
RULES = st.lists(
    st.tuples(spans(COORDINATES), spans(COORDINATES), spans(PORTS), st.sampled_from([6, 17, 65535])).map(
        lambda rule: (*rule[0], *rule[1], *rule[2], rule[3])
    ),
    max_size=80,
)


def tree(rules):
    rows = np.array([rule[:6] for rule in rules], np.uint32).reshape(-1, 6)
    return cidr.Rules(rows, np.array([rule[6] for rule in rules], np.uint16))


@settings(max_examples=300, deadline=None)
@given(RULES, st.lists(st.tuples(COORDINATES, COORDINATES, st.sampled_from([6, 17, 1]), PORTS), max_size=20))
def test_the_first_rule_is_found(rules, asked):
    found = tree(rules)
    corners = [
        (s, t, 6, p) for s0, s1, t0, t1, p0, p1, _ in rules[:10] for s in (s0, s1) for t in (t0, t1) for p in (p0, p1)
    ]
    questions = asked + corners
    expected = [first_match(rules, *question) for question in questions]
    assert [found.match(*question) for question in questions] == expected
    if questions:
        columns = (
            np.array(c, t)
            for c, t in zip(zip(*questions, strict=True), (np.uint32,) * 2 + (np.uint16,) * 2, strict=True)
        )
        assert found.match_many(*columns).tolist() == expected


def test_many_rules_of_many_levels():
    draw = random.Random(3)
    rules = []
    for _ in range(6_000):
        row = []
        for _ in range(2):
            length = draw.choice((8, 12, 16, 20, 24, 32))
            network = (draw.randrange(1 << 12) << 20 | draw.randrange(1 << 20)) >> (32 - length) << (32 - length)
            row += [network, network | (1 << (32 - length)) - 1]
        first = draw.randrange(65536)
        rules.append((*row, first, draw.randrange(first, 65536), draw.choice((6, 17, 65535))))
    found = tree(rules)
    for _ in range(400):
        near_rule = draw.choice(rules)
        question = (draw.randint(*near_rule[:2]), draw.randint(*near_rule[2:4]), 6, draw.randint(*near_rule[4:6]))
        assert found.match(*question) == first_match(rules, *question)
    assert found.nbytes <= 64 * len(rules)


def test_what_does_not_fit_together_is_refused():
    one, two = np.zeros(1, np.uint32), np.zeros(2, np.uint32)
    with pytest.raises(ValidationError):
        cidr.Prefixes4(one, two.astype(np.uint8), one)
    with pytest.raises(ValidationError):
        cidr.Prefixes4(one, np.array([33], np.uint8), one)
    with pytest.raises(ValidationError):
        cidr.Prefixes6([]).find(b"1234")
    with pytest.raises(ValidationError):
        cidr.Rules(np.zeros((2, 6), np.uint32), np.zeros(1, np.uint16))
    assert cidr.Rules(np.zeros((0, 6), np.uint32), np.zeros(0, np.uint16)).match(0, 0, 6, 0) == cidr.NOTHING
