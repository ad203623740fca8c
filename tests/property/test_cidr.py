"""The R-tree of address rules against its twin: nested and equal boxes, many levels, and the edges of everything."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire._native import cidr
from ghostwire.errors import ValidationError
from tests.reference.cidr import first_match

EDGES = [0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFEFFFF, 0xFFFFFFFE, 0xFFFFFFFF]


def spans(values):
    return st.tuples(values, values).map(sorted).map(tuple)


COORDINATES = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from(EDGES), st.integers(0, 20))
PORTS = st.one_of(st.integers(0, 65535), st.sampled_from([0, 1, 65535]))
PROTOCOLS = st.sampled_from([(6, 6), (17, 17), (0, 255), (255, 255), (1, 17)])
RULES = st.lists(
    st.tuples(spans(COORDINATES), spans(COORDINATES), spans(PORTS), PROTOCOLS).map(
        lambda rule: tuple(edge for span in rule for edge in span)
    ),
    max_size=80,
)
VECTORS = (512, 256, 128)
"""What the boxes are compared by: AVX-512, AVX2, plain loops, as far as the CPU has them."""


def trees(rules):
    rows = np.array(rules, np.uint32).reshape(-1, 8)
    return [cidr.Rules(rows, bits) for bits in VECTORS]


def columns(questions):
    kinds = (np.uint32, np.uint32, np.uint8, np.uint16)
    return [np.array(column, kind) for column, kind in zip(zip(*questions, strict=True), kinds, strict=True)]


def test_vectors_are_no_wider_than_asked_for():
    widths = [tree.vectors for tree in trees([])]
    assert widths == sorted(widths, reverse=True)
    assert all(width in VECTORS and width <= bits for width, bits in zip(widths, VECTORS, strict=True))


@settings(max_examples=300, deadline=None)
@given(RULES, st.lists(st.tuples(COORDINATES, COORDINATES, st.sampled_from([6, 17, 1]), PORTS), max_size=20))
def test_the_first_rule_is_found(rules, asked):
    corners = [
        (s, t, 6, p) for s0, s1, t0, t1, p0, p1, *_ in rules[:10] for s in (s0, s1) for t in (t0, t1) for p in (p0, p1)
    ]
    questions = asked + corners
    expected = [first_match(rules, *question) for question in questions]
    for tree in trees(rules):
        assert [tree.match(*question) for question in questions] == expected
        if questions:
            assert tree.match_many(*columns(questions)).tolist() == expected


def first_matches(rows, questions):
    """What `first_match` finds, for many questions at once."""
    found = np.empty(len(questions), np.uint32)
    for place, (source, target, protocol, port) in enumerate(questions):
        point = np.array([source, target, port, protocol], np.uint32)
        fits = ((rows[:, 0::2] <= point) & (point <= rows[:, 1::2])).all(axis=1)
        first = int(fits.argmax())
        found[place] = first if fits[first] else cidr.NOTHING
    return found


def nested(draw, count):
    """Prefixes within prefixes, and rules over all that there is among those over one address."""
    rows = []
    for _ in range(count):
        row = []
        for _ in range(2):
            length = draw.choice((0, 8, 12, 16, 20, 24, 31, 32))
            host = (1 << (32 - length)) - 1
            network = (draw.randrange(1 << 12) << 20 | draw.randrange(1 << 20)) & ~host
            row += [network, network | host]
        first = draw.randrange(65536)
        rows.append((*row, first, draw.randrange(first, 65536), *draw.choice(((6, 6), (17, 17), (0, 255)))))
    return rows


def equal(draw, count):
    """The same boxes over and over, and everything in one row of neighbours."""
    return [(i // 7, i // 7, 5, 5, 0, 65535, 6, 6) for i in range(count)]


@pytest.mark.parametrize("kind", [nested, equal])
@pytest.mark.parametrize("count", [1, 16, 17, 256, 257, 6_000])
def test_rules_of_many_levels(kind, count):
    draw = random.Random(count)
    rules = kind(draw, count)
    rows = np.array(rules, np.uint32)
    questions = []
    for _ in range(min(2 * count, 1_000)):
        rule = draw.choice(rules)
        edges = [draw.choice((rule[2 * axis], rule[2 * axis + 1])) for axis in range(3)]
        step = draw.choice((-1, 0, 0, 1))
        source, target, port = (edge + step for edge in edges)
        questions.append((source & 0xFFFFFFFF, target & 0xFFFFFFFF, draw.choice((6, 17)), port & 0xFFFF))
    expected = first_matches(rows, questions)
    for tree in trees(rules):
        assert (tree.match_many(*columns(questions)) == expected).all()
        assert tree.nbytes <= max(64 * count, 2048)


MANY = 1_000_000


def around(draw, edges, most):
    """Numbers on these edges, beside them, and anywhere."""
    near = draw.choice(edges, MANY).astype(np.int64) + draw.integers(-1, 2, MANY)
    return np.where(draw.random(MANY) < 0.9, near, draw.integers(0, most, MANY, endpoint=True)) & most


def test_a_million_packets():
    rows = np.array(nested(random.Random(1), 300) + equal(random.Random(2), 100), np.uint32)
    draw = np.random.default_rng(3)
    source, target, port = (
        around(draw, rows[:, 2 * axis : 2 * axis + 2].ravel(), most)
        for axis, most in enumerate((2**32 - 1, 2**32 - 1, 65535))
    )
    protocol = draw.choice(np.array([1, 6, 17, 255]), MANY)
    expected = np.full(MANY, cidr.NOTHING, np.uint32)
    for number in range(len(rows) - 1, -1, -1):
        s0, s1, t0, t1, p0, p1, q0, q1 = rows[number].tolist()
        fits = (s0 <= source) & (source <= s1) & (t0 <= target) & (target <= t1)
        expected[fits & (p0 <= port) & (port <= p1) & (q0 <= protocol) & (protocol <= q1)] = number
    asked = source.astype(np.uint32), target.astype(np.uint32), protocol.astype(np.uint8), port.astype(np.uint16)
    for bits in VECTORS:
        assert (cidr.Rules(rows, bits).match_many(*asked) == expected).all()


def test_what_does_not_fit_together_is_refused():
    one, two = np.zeros(1, np.uint32), np.zeros(2, np.uint32)
    for place, wrong in ((5, 65_536), (7, 256)):
        row = np.zeros((1, 8), np.uint32)
        row[0, place] = wrong
        with pytest.raises(ValidationError):
            cidr.Rules(row)
    nothing = cidr.Rules(np.zeros((0, 8), np.uint32))
    assert nothing.match(0, 0, 6, 0) == cidr.NOTHING
    with pytest.raises(ValidationError):
        nothing.match_many(one, two, one.astype(np.uint8), one.astype(np.uint16))
