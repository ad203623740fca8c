"""Small parts by themselves: names, keys, deadlines, state, class numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.coordinator.agenda import LONGEST_S, Agenda, Due
from ghostwire.coordinator.class_numbers import ClassNumbers
from ghostwire.coordinator.fragments import peer_part
from ghostwire.coordinator.key_exchange import KeyExchange
from ghostwire.coordinator.liveness import Presence
from ghostwire.coordinator.names import NameSeries, belongs_to, clean_hostname, printable
from ghostwire.coordinator.reservations import Claim, Reservations
from ghostwire.coordinator.state import State
from ghostwire.errors import InternalError, ValidationError
from ghostwire.model.change import Delete, Put
from ghostwire.model.node import Node
from ghostwire.model.time import SECOND, Now
from ghostwire.model.user import User


def node(number: int, **fields: object) -> Node:
    raw = bytes([number]) * 32
    defaults = {"name": f"n{number}", "ipv4": f"10.0.0.{number}", "ipv6": f"fd00::{number}", "slot": number}
    return Node(id=number, node_key=raw, machine_key=raw, **{**defaults, **fields})


# Names.


@given(st.text(max_size=300))
def test_any_reported_name_becomes_a_label(reported: str) -> None:
    name = clean_hostname(reported, ("ghost",))
    assert 1 <= len(name) <= 63
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert name not in ("localhost", "wpad", "isatap", "ghost")


@given(st.text(max_size=600), st.integers(1, 255))
def test_printable_text_is_capped_and_plain(text: str, limit: int) -> None:
    plain = printable(text, limit)
    assert len(plain) <= limit
    assert all(character.isprintable() or character == " " or character.isspace() for character in plain)
    assert "\x1b" not in plain
    assert "\u202e" not in plain


@given(st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True), st.integers(1, 80))
def test_series_of_names_never_repeat_and_know_their_own(base: str, count: int) -> None:
    taken: set[str] = set()
    series = NameSeries(taken.__contains__)
    for _ in range(count):
        name = series.free(base)
        assert name not in taken
        assert len(name) <= 63
        assert belongs_to(name, base)
        taken.add(name)
    assert not belongs_to("other", base) or base == "other"


# Keys.


def test_pairs_agree_and_correspond() -> None:
    a, public_a = KeyExchange.pair(bytes(range(32)))
    b, public_b = KeyExchange.pair(bytes(range(1, 33)))
    assert KeyExchange.shared_secret(a, public_b) == KeyExchange.shared_secret(b, public_a)
    KeyExchange.check_pair(a, public_a)
    with pytest.raises(ValidationError):
        KeyExchange.check_pair(a, public_b)
    assert KeyExchange.equal(b"a", b"a")
    assert not KeyExchange.equal(b"a", b"b")
    assert bytes(range(32)).hex() not in repr(a)


@pytest.mark.parametrize(
    "raw", [b"", bytes(31), bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", b"\xff" * 32]
)
def test_unusable_keys(raw: bytes) -> None:
    for read in (KeyExchange.node_key, KeyExchange.machine_key):
        with pytest.raises(ValidationError):
            read(raw)
    if len(set(raw)) <= 1:
        with pytest.raises(ValidationError):
            KeyExchange.pair(raw)


# Deadlines.


@given(st.floats(0, 1e6), st.floats(0, 1e5))
def test_a_deadline_is_met_at_its_own_moment(start: float, delay: float) -> None:
    agenda = Agenda(Now(start, 0))
    agenda.set(Due.SILENCE, 7, start + delay)
    moment, early = start, 0
    while (found := agenda.next()) is not None:
        moment = max(found, moment)
        due = agenda.due(Now(moment, 0))
        if due:
            assert due == [(Due.SILENCE, 7)]
        else:
            early += 1
    assert start + delay - 1e-6 <= moment <= start + delay + 0.0011
    assert early < 12


def test_wall_clock_deadlines_are_looked_at_every_hour() -> None:
    now = Now(10.0, 100 * SECOND)
    agenda = Agenda(now)
    agenda.set_utc(Due.KEY_EXPIRY, 1, now.utc + 90 * SECOND, now)
    agenda.set_utc(Due.KEY_EXPIRY, 2, now.utc + 10**9 * SECOND, now)
    agenda.bring_forward(Due.KEY_EXPIRY, 1, now.utc + 99 * SECOND, now)
    assert agenda.due(Now(99.999, 0)) == []
    assert agenda.due(Now(100.0, 0)) == [(Due.KEY_EXPIRY, 1)]
    assert agenda.due(Now(10.0 + LONGEST_S, 0)) == [(Due.KEY_EXPIRY, 2)]
    agenda.set(Due.IDLE, 3, 1e6)
    agenda.forget_node(3)
    assert agenda.next() is None


# State.


def test_indexes_follow_rows() -> None:
    state = State()
    state.apply_writes((Put("users", User(id=1, name="a")), Put("nodes", node(1, user_id=1)), Put("nodes", node(2))), 1)
    assert state.node_by_name["n1"] is state.node_by_address["10.0.0.1"] is state.nodes[1]
    assert list(state.nodes_of) == [1]
    moved = state.apply_writes((Put("nodes", node(1, name="new", user_id=None, tags=("tag:x",), version=2), 1),), 2)
    assert [(table, old.name, new.name) for table, old, new in moved] == [("nodes", "n1", "new")]
    assert "n1" not in state.node_by_name
    assert state.nodes_of == {}
    assert state.highest_node_id() == 2
    assert state.raise_floor("nodes", 1) == ()
    assert len(state.raise_floor("nodes", 2)) == 1
    state.apply_writes((*state.raise_floor("nodes", 2), Delete("nodes", 2, 1)), 3)
    assert (state.highest_node_id(), state.id_floor("nodes"), state.seq) == (1, 2, 3)
    assert "10.0.0.2" not in state.node_by_address
    assert State.load({name: rows.values() for name, rows in state.tables.items()}, 3).tables == state.tables
    with pytest.raises(InternalError):
        State.load({"secrets": ()}, 0)


def test_names_that_two_nodes_exchange_in_one_change_stay_found() -> None:
    state = State()
    state.apply_writes((Put("nodes", node(1)), Put("nodes", node(2))), 1)
    swap = (Put("nodes", node(1, name="n2", version=2), 1), Put("nodes", node(2, name="n1", version=2), 1))
    state.apply_writes(swap, 2)
    assert (state.node_by_name["n1"].id, state.node_by_name["n2"].id) == (2, 1)


# Reservations.


def test_images_in_flight_are_built_on_until_one_fails() -> None:
    reservations = Reservations()
    first, second = Claim(reservations), Claim(reservations)
    committed, one, two = (User(id=1, name="a", version=version) for version in (1, 2, 3))
    first.foresee("users", 1, one)
    second.foresee("users", 1, two)
    assert reservations.latest("users", 1, committed) is two
    first.release(committed=False)
    assert reservations.latest("users", 1, committed) is committed
    second.release(committed=False)
    assert reservations.latest("users", 1, committed) is committed


# Class numbers.


def test_numbers_stay_where_all_their_nodes_are_of_one_class_and_are_fresh_elsewhere() -> None:
    """Class 5 keeps 3; class 6 keeps 4 and 6, which one class has become; of 7 and 8, the larger keeps what was one."""
    engine_class = {1: 5, 2: 5, 3: 6, 4: 6, 5: 7, 6: 8, 7: 5, 9: 8}
    numbers = ClassNumbers.carry(10, engine_class, {1: 3, 2: 3, 3: 4, 4: 6, 5: 9, 6: 9, 9: 9})
    assert numbers.all() == {1: 3, 2: 3, 7: 3, 3: 4, 4: 6, 5: 10, 6: 9, 9: 9}
    assert numbers.inhabited((5, 6, 99)) == (3, 4, 6)
    assert not numbers.enter(8, 5)
    assert numbers.number(8) == 3
    assert numbers.leave(4)
    assert numbers.inhabited((6,)) == (4,)
    assert numbers.leave(3)
    assert numbers.enter(3, 6)
    assert numbers.number(3) == 11


def test_a_node_that_the_store_gives_back_has_the_bytes_that_it_had() -> None:
    """Equal parts are equal bytes, also where a default's text is another object, as it is once it was on a disk."""
    kept = node(1, node_type="".join(["no", "de"]))
    assert kept == node(1)
    assert peer_part(kept, 1, Presence()) == peer_part(node(1), 1, Presence())
