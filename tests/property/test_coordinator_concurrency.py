"""Decisions in flight: whatever the store answers, and in whatever order, uses, addresses and names are given once."""

import random
from collections import Counter

import hypothesis.strategies as st
from hypothesis import given, settings

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import (
    CreatePreauthKey,
    DeleteNode,
    DeleteUser,
    ExpireNode,
    RegisterNode,
    RenameNode,
    RevokePreauthKey,
)
from ghostwire.coordinator.effects import KeyCreated, Registered
from ghostwire.coordinator.state import State
from ghostwire.errors import AuthenticationError, ConflictError, DatabaseError, GhostwireError
from ghostwire.testing.simnet import SimNet


def settle_all(net: SimNet, source: random.Random, failures: float = 0.0, *, in_order: bool = False) -> None:
    """Let the store answer everything in flight, and what follows from that."""
    while net.held:
        index = 0 if in_order else source.randrange(len(net.held))
        if source.random() < failures:
            net.settle(index, fail=True, error=DatabaseError("disk full") if source.random() < 0.5 else None)
        else:
            net.settle(index)


def check_books(net: SimNet) -> None:
    """Nothing is reserved any more, and memory is what the log says."""
    core = net.coordinator._core
    reservations = core.reservations
    assert not reservations.taken
    assert not reservations._images
    assert not reservations._locked
    assert reservations.waiting == 0
    assert core.state.tables == net.store.replayed().tables
    assert core.state.tables == State.load(net.store.tables(), core.state.seq).tables
    nodes = core.state.nodes.values()
    for column in ("name", "ipv4", "ipv6", "slot", "node_key"):
        assert len({getattr(node, column) for node in nodes}) == len(nodes), column
    pool = net.coordinator.view.addresses()[0]
    assert pool.used == len(nodes) + pool.resting


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 12))
def test_a_key_is_used_exactly_as_often_as_it_says(seed: int, uses: int, machines: int) -> None:
    net, source = SimNet(seed=seed), random.Random(seed)
    secret = net.key(uses=uses)
    net.hold = True
    ops = []
    for number in range(machines):
        ops.append(net.give(RegisterNode, **net.registration(net.node(str(number)), secret)))
        if source.random() < 0.3 and net.held:
            net.settle(0)
    settle_all(net, source, in_order=True)
    answers = [net.answer(op) for op in ops]
    won = [answer for answer in answers if isinstance(answer, Registered)]
    lost = [answer for answer in answers if isinstance(answer, AuthenticationError)]
    assert len(won) == min(uses, machines)
    assert len(won) + len(lost) == machines
    assert net.coordinator.view.preauth_keys()[0].uses_left == uses - len(won)
    check_books(net)


@given(st.integers(0, 2**32))
def test_of_two_machines_with_a_one_use_key_exactly_one_wins(seed: int) -> None:
    net, source = SimNet(seed=seed), random.Random(seed)
    secret = net.key(uses=1)
    net.hold = True
    ops = [net.give(RegisterNode, **net.registration(net.node(name), secret)) for name in "ab"]
    settle_all(net, source)
    kinds = sorted(type(net.answer(op)).__name__ for op in ops)
    assert kinds == ["AuthenticationError", "Registered"]
    check_books(net)


@given(st.integers(0, 2**32))
def test_one_machine_asking_twice_at_once_is_one_node_and_one_use(seed: int) -> None:
    net, source = SimNet(seed=seed), random.Random(seed)
    secret = net.key(uses=2)
    net.hold = True
    node = net.node("a")
    ops = [net.give(RegisterNode, **net.registration(node, secret)) for _ in range(3)]
    assert len(net.held) == 1
    settle_all(net, source)
    answers = [net.answer(op) for op in ops]
    assert [answer.created for answer in answers] == [True, False, False]
    assert len({answer.node for answer in answers}) == 1
    assert net.coordinator.view.preauth_keys()[0].uses_left == 1
    check_books(net)


@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(["sequential", "random"]),
    st.floats(0, 0.4),
    st.lists(
        st.sampled_from(["register", "delete", "rename", "expire", "key", "revoke", "user", "settle"]), max_size=60
    ),
)
def test_whatever_the_store_answers_books_balance_and_everyone_is_answered(
    seed: int, allocation: str, failures: float, acts: list[str]
) -> None:
    net, source = SimNet(Settings(ipv4_pool="10.9.0.0/27", allocation=allocation), seed=seed), random.Random(seed)
    secrets = [net.key(user, uses=uses) for user, uses in (("alice", None), ("bob", 3), ("bob", 1))]
    net.hold = True
    ops: list[int] = []
    machines = [net.node(f"m{number}") for number in range(8)]
    for act in acts:
        nodes = net.coordinator.view.nodes()
        node = source.choice(nodes).id if nodes else 1
        if act == "register":
            registration = net.registration(source.choice(machines), source.choice(secrets), hostname="same")
            ops.append(net.give(RegisterNode, **registration))
        elif act == "delete":
            ops.append(net.give(DeleteNode, node=node))
        elif act == "rename":
            ops.append(net.give(RenameNode, node=node, name=source.choice(["x", "y"])))
        elif act == "expire":
            ops.append(net.give(ExpireNode, node=node))
        elif act == "key":
            ops.append(net.give(CreatePreauthKey, user=source.choice(["alice", "carol"])))
        elif act == "revoke":
            ops.append(net.give(RevokePreauthKey, key=source.randrange(1, 4)))
        elif act == "user":
            ops.append(net.give(DeleteUser, user=source.randrange(1, 4)))
        elif net.held:
            net.settle(source.randrange(len(net.held)), fail=source.random() < failures)
    settle_all(net, source, failures)
    answers = Counter(type(net.answer(op)).__name__ for op in ops)
    assert sum(answers.values()) == len(ops)
    check_books(net)


def test_keys_made_at_once_for_a_new_user_share_that_user() -> None:
    net = SimNet(seed=1)
    net.hold = True
    ops = [net.give(CreatePreauthKey, user=name) for name in ("alice", "Alice", "bob")]
    settle_all(net, random.Random(0))
    created: list[KeyCreated] = [net.answer(op) for op in ops]
    assert len({key.secret for key in created}) == 3
    assert [user.name for user in net.coordinator.view.users()] == ["alice", "bob"]
    check_books(net)


def test_a_row_that_keeps_moving_ends_in_a_conflict_after_three_decisions() -> None:
    net = SimNet(seed=1)
    node = net.register(net.node("a"), net.key())
    net.hold = True
    op = net.give(RenameNode, node=node.id, name="b")
    for _ in range(3):
        assert not net.is_answered(op)
        net.settle(fail=True)
    assert isinstance(net.answer(op), ConflictError)
    assert net.coordinator.view.counters.conflicts == 2
    check_books(net)


def test_a_full_disk_is_answered_with_the_stores_error_and_changes_nothing() -> None:
    net = SimNet(seed=1)
    node = net.register(net.node("a"), net.key())
    net.hold = True
    op = net.give(RenameNode, node=node.id, name="b")
    net.settle(fail=True, error=DatabaseError("the disk is full"))
    answer = net.answer(op)
    assert isinstance(answer, GhostwireError)
    assert answer.code == "database"
    assert net.coordinator.view.node(node.id).name == "a"
    check_books(net)


def test_nobody_is_told_before_it_is_durable() -> None:
    net = SimNet(seed=1)
    secret = net.key()
    a = net.join("a", secret)
    net.hold = True
    op = net.give(RegisterNode, **net.registration(net.node("b"), secret))
    assert not net.is_answered(op)
    assert a.netmap.peers == {}
    assert len(net.coordinator.view.nodes()) == 1
    net.settle()
    assert net.answer(op).created
    assert len(a.netmap.peers) == 1
