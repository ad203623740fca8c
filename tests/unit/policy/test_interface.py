"""What scripts may hand to `ghostwire.policy`, and what they get for what they may not."""

import sys
import threading
from typing import Any

import numpy as np
import pytest

from ghostwire.errors import ValidationError
from ghostwire.policy import Change, Engine, NodeFacts, Policy, compile, directory

TEXT = """{
    "tagOwners": {"tag:web": ["alice@"]},
    "acls": [{"action": "accept", "src": ["alice@"], "dst": ["tag:web:80"]}],
}"""
USERS = [{"id": 1, "name": "alice"}, {"id": 2, "name": "bob"}]
NODES: dict[str, dict[str, Any]] = {
    "a": {"id": 1, "user": "alice", "ipv4": "100.64.0.1"},
    "w": {"id": 2, "tags": ["tag:web"], "ipv4": "100.64.0.2"},
}


def engine(users: Any = USERS, nodes: Any = NODES) -> Engine:
    return compile(Policy.parse(TEXT), directory(users, nodes))


def columns(*rows: tuple[int, int, int, int]) -> tuple[Any, ...]:
    kinds = np.uint32, np.uint32, np.uint8, np.uint16
    return tuple(np.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True))


def test_columns_of_a_wider_array_are_taken() -> None:
    """A column of a table lies apart in memory."""
    asked = np.array([(1, 2), (2, 1), (1, 2)], np.uint32)
    _, _, protos, ports = columns(*[(1, 2, 6, 80)] * 3)
    assert engine().decide_many(asked[:, 0], asked[:, 1], protos, ports).tolist() == [True, False, True]
    assert engine().decide_many(asked[::2, 0], asked[::2, 1], protos[::2], ports[::2]).tolist() == [True, True]


def test_a_batch_leaves_the_interpreter_to_others() -> None:
    """No thread is asked to hand it on here: were it kept, the call would be over before anything is counted."""
    one, asked = engine(), [np.repeat(column, 4_000_000) for column in columns((1, 2, 6, 80))]
    one.decide_many(*asked)
    begun, counted = threading.Event(), 0

    def decide() -> None:
        begun.set()
        one.decide_many(*asked)

    thread = threading.Thread(target=decide)
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        thread.start()
        begun.wait()
        while thread.is_alive() and counted < 1000:
            counted += 1
    finally:
        sys.setswitchinterval(before)
    thread.join()
    assert counted == 1000


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
@pytest.mark.parametrize("make", [lambda a: a.astype(np.int64), lambda a: a.reshape(1, -1), list, lambda _: None])
def test_columns_of_another_kind_are_refused(wrong: int, make: Any) -> None:
    """2^32 + 1 as a node would be the node 1, were it cut to what fits."""
    asked = list(columns((1, 2, 6, 80), (2, 1, 6, 80)))
    asked[wrong] = make(asked[wrong])
    with pytest.raises(ValidationError):
        engine().decide_many(*asked)


@pytest.mark.parametrize("count", [2, 3, 1_000, 10_000])
def test_any_number_of_port_ranges_is_told_apart_to_the_port(count: int) -> None:
    draw = np.random.default_rng(count)
    edges = np.sort(draw.choice(65536, 2 * count, replace=False))
    allowed = np.zeros(65536, bool)
    for first, last in edges.reshape(-1, 2):
        allowed[first : last + 1] = True
    ports = ",".join(f"{first}-{last}" for first, last in draw.permutation(edges.reshape(-1, 2)))
    built = compile(Policy.parse(TEXT.replace(":80", f":{ports}")), directory(USERS, NODES))
    every = np.arange(65536, dtype=np.uint16)
    one, two, tcp = np.ones(65536, np.uint32), np.full(65536, 2, np.uint32), np.full(65536, 6, np.uint8)
    assert (built.decide_many(one, two, tcp, every) == allowed).all()
    for port in {0, 65535, *edges[:20].tolist(), *edges[-20:].tolist()}:
        expected = bool(allowed[port])
        assert built.decide(1, 2, 6, port) == expected
        assert built.decide_address("100.64.0.1", "100.64.0.2", 6, port) == expected


def test_no_questions_have_no_answers() -> None:
    kinds = np.uint32, np.uint32, np.uint8, np.uint16
    assert engine().decide_many(*(np.array([], kind) for kind in kinds)).tolist() == []


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"id": 1, "tags": "tag:web"}, "tags is not a list of texts"),
        ({"id": 1, "tags": ["tag:web", 3]}, "tags is not a list of texts"),
        ({"id": 1, "addresses": "100.64.0.1"}, "addresses is not a list of texts"),
        ({"id": 1, "user": 1}, "user is not a text"),
        ({"id": 1, "ipv4": 3}, "ipv4 is not a text"),
        ({"id": 1, "routable_ips": {"10.0.0.0/8": True}}, "routable_ips is not a list of texts"),
        ({"id": 2}, 'nodes "a" and "w" have the same id'),
    ],
)
def test_nodes_that_would_be_taken_for_others_are_refused(node: dict[str, Any], message: str) -> None:
    """A list forgotten around one tag must not leave an owner's device behind."""
    with pytest.raises(ValidationError, match=message):
        engine(nodes=NODES | {"a": node})


def test_fields_that_say_nothing_may_be_null() -> None:
    empty = dict.fromkeys(("user", "tags", "ipv4", "ipv6", "addresses", "routable_ips", "approved_routes"))
    assert not engine(nodes=NODES | {"a": {"id": 1} | empty}).visible(2)


def test_users_with_one_id_are_refused() -> None:
    with pytest.raises(ValidationError, match="two users have the id 1"):
        engine(users=[*USERS, {"id": 1, "name": "carol"}])


def test_a_change_is_of_one_node() -> None:
    with pytest.raises(ValidationError):
        engine().affected(Change(node=NodeFacts(id=3), leave=1))
    assert not engine().affected(Change())
