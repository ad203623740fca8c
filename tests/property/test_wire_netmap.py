"""The map: any way of cutting a history into pages and deltas gives the same parts and the same digest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import WireError
from ghostwire.model.position import Position
from ghostwire.wire.messages import MapDelta, MapFull, Parts
from ghostwire.wire.netmap import SINGLE_PARTS, Filter, NetMap, part_hash

ids = st.integers(1, 12)
part = st.binary(min_size=1, max_size=8)


def position(seq):
    return Position(b"log", seq, b"boot", 0)


SINGLES = {name: name.encode() for name in SINGLE_PARTS}


def full(peers, profiles, singles=SINGLES, seq=1, page=3):
    """Pages of at most `page` peers."""
    chunks = [dict(list(peers.items())[i : i + page]) for i in range(0, len(peers), page)] or [{}]
    return [
        MapFull(
            page=number,
            parts=Parts(peers=chunk, **(singles if number == 0 else {}), profiles=profiles if number == 0 else {}),
            last=number == len(chunks) - 1,
            position=position(seq) if number == len(chunks) - 1 else None,
        )
        for number, chunk in enumerate(chunks)
    ]


def naive_digest(netmap):
    labelled = [(name, data) for name, data in netmap.parts.items()]
    labelled += [(f"peer/{key}", data) for key, data in netmap.peers.items()]
    labelled += [(f"profile/{key}", data) for key, data in netmap.profiles.items()]
    return (sum(part_hash(label, data) for label, data in labelled) % 2**128).to_bytes(16, "big")


steps = st.lists(
    st.tuples(
        st.dictionaries(ids, part, max_size=4), st.lists(ids, max_size=4), st.dictionaries(ids, part, max_size=2)
    ),
    max_size=12,
)


@given(st.dictionaries(ids, part), st.dictionaries(ids, part), steps)
def test_deltas_end_where_a_fresh_map_stands(peers, profiles, history):
    held = NetMap()
    for page in full(peers, profiles):
        done = held.apply_page(page)
    assert done
    peers, profiles = dict(peers), dict(profiles)
    for number, (sets, drops, owners) in enumerate(history):
        held.apply_delta(
            MapDelta(position=position(number + 2), parts=Parts(peers=sets, profiles=owners), gone=tuple(drops))
        )
        for key in drops:
            peers.pop(key, None)
        peers.update(sets)
        profiles.update(owners)
    fresh = NetMap()
    for page in full(peers, profiles, page=2):
        fresh.apply_page(page)
    assert (held.peers, held.profiles, held.parts) == (fresh.peers, fresh.profiles, fresh.parts)
    assert held.digest == fresh.digest == naive_digest(held)
    assert NetMap.load(held.dump()).digest == held.digest


@given(st.dictionaries(ids, part, min_size=4), st.integers(0, 3))
def test_a_torn_full_map_leaves_the_old_one(peers, cut):
    held = NetMap()
    for page in full({99: b"old"}, {}):
        held.apply_page(page)
    pages = full(peers, {}, page=1)
    for page in pages[: min(cut, len(pages) - 1)]:
        assert not held.apply_page(page)
    assert held.peers == {99: b"old"}


def test_pages_come_in_order():
    held = NetMap()
    pages = full({1: b"a", 2: b"b"}, {}, page=1)
    with pytest.raises(WireError, match="page 1"):
        held.apply_page(pages[1])


def test_a_map_without_its_parts_is_refused():
    held = NetMap()
    with pytest.raises(WireError, match="lacks"):
        held.apply_page(MapFull(page=0, parts=Parts(), last=True, position=position(1)))
    assert held.position is None


def test_a_wrong_digest_is_refused():
    held = NetMap()
    page = MapFull(page=0, parts=Parts(**SINGLES), last=True, position=position(1), digest=bytes(16))
    with pytest.raises(WireError, match="digest"):
        held.apply_page(page)


def test_empty_is_not_unchanged():
    held = NetMap()
    for page in full({}, {}):
        held.apply_page(page)
    before = held.parts["filter"]
    held.apply_delta(MapDelta(position=position(2), parts=Parts()))
    assert held.parts["filter"] == before
    held.apply_delta(MapDelta(position=position(3), parts=Parts(filter=b"\x80")))
    assert held.parts["filter"] == b"\x80"
    assert held.filter() == Filter()
