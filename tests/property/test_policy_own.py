"""Ghostwire's own additions against the twin: denials, windows, conditions, memberships, approved access."""

import ipaddress
import json
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.policy import AccessGrant, Engine, NodeFacts, Policy, UserFacts
from tests.property.test_policy import (
    PEOPLE,
    SELECTORS,
    USERS,
    acls,
    grants,
    looks,
    names,
    nodes,
    policies,
)
from tests.reference.policy import WITH_PORTS, Twin
from tests.reference.windows import QUARTER, is_open, next_turn, utc_ns

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC"]
# Clocks change in Berlin, in New York and on Lord Howe within these days.
TIMES = [
    utc_ns(text)
    for text in (
        *("2026-03-28T22:00:00+00:00", "2026-03-29T00:45:00+00:00", "2026-03-29T01:00:00+00:00"),
        *("2026-10-25T00:30:00+00:00", "2026-11-01T05:59:00+00:00", "2026-04-04T15:00:00+00:00"),
        *("2026-11-23T08:00:00+00:00", "2026-11-27T16:30:00+00:00", "2026-12-31T23:59:59+00:00"),
    )
]
EXPIRIES = ["2026-03-29T01:00:00Z", "2026-10-25T02:30:00+01:00", "2026-11-01T06:00:00Z", "2027-01-01T00:00:00Z"]
HOURS = ["09:00-17:30", "00:00-24:00", "22:00-06:00", "02:15-02:45", "01:30-03:30", "12:00-12:15", "23:45-00:15"]
DAYS = ["mon-fri", "sat", "sun", "fri-mon", "wed", "mon-sun"]
KINDS = [(6, 22), (6, 85), (6, 443), (17, 53), (1, 0), (47, 0), (132, 22), (6, 65535), (6, 0)]
CONDITIONS = [
    *("os == 'linux'", "os != 'linux'", "version >= '1.2'", "country == 'DE'", "region != 'eu'"),
    *("tag == 'tag:a'", "tag != 'tag:b'", "attribute == 'custom:x'", "attribute != 'custom:y'"),
]

times = st.one_of(
    st.sampled_from(TIMES), st.integers(min(TIMES) // QUARTER, max(TIMES) // QUARTER).map(lambda n: n * QUARTER)
)
schedules = st.fixed_dictionaries(
    {"zone": st.sampled_from(ZONES)},
    optional={"days": names(DAYS, 2), "hours": names(HOURS, 2)},
)
limits = st.fixed_dictionaries(
    {}, optional={"schedule": st.sampled_from(["s", "t"]), "expires": st.sampled_from(EXPIRIES)}
)
terms = st.tuples(
    limits, st.one_of(st.just({}), st.fixed_dictionaries({"when": names(["condition:p", "condition:q"], 2)}))
).map(lambda both: both[0] | both[1])


@st.composite
def denials(draw):
    ip = draw(
        st.one_of(st.just({}), names(["*", "22", "tcp:80-90", "udp:53", "icmp:*", "gre:*"]).map(lambda ip: {"ip": ip}))
    )
    if draw(st.integers(0, 4)) == 0:
        return {"src": draw(names(PEOPLE)), "dst": ["autogroup:self"]} | ip | draw(terms)
    priority = {"priority": draw(st.integers(0, 1000))} if draw(st.booleans()) else {}
    return {"src": draw(names(SELECTORS, 2)), "dst": draw(names(SELECTORS, 2))} | ip | priority | draw(terms)


@st.composite
def own_policies(draw):
    policy = draw(policies())
    member = st.tuples(st.sampled_from(["ann@", "bob@example.com", "cat@", "dan@"]), limits)
    members = st.lists(member.map(lambda both: {"member": both[0]} | both[1]), max_size=3)
    own = {
        "schedules": {"s": draw(schedules), "t": draw(schedules)},
        "conditions": {f"condition:{name}": draw(names(CONDITIONS, 2)) for name in "pq"},
        "groups": {"group:y": draw(members), "group:none": draw(members)},
        "deny": draw(st.lists(denials(), max_size=3)),
    }
    for section, rules in (("acls", acls()), ("grants", grants())):
        if draw(st.booleans()):
            limited = st.tuples(rules, terms).map(lambda both: both[0] | both[1])
            own[section] = draw(st.lists(limited, max_size=3))
    attrs = [{"target": draw(names(["*", "group:y", "tag:c", "half", "dan@"], 2)), "attr": ["custom:x"]}]
    return policy | {"nodeAttrs": attrs, "ghostwire": own}


@st.composite
def reporting(draw, node_id):
    node = draw(nodes(node_id))
    facts = {
        "os": draw(st.sampled_from(["", "linux", "macos"])),
        "version": draw(st.sampled_from(["", "1.1", "1.10"])),
        "country": draw(st.sampled_from(["", "DE"])),
        "region": draw(st.sampled_from(["", "eu", "us"])),
    }
    fields = {name: getattr(node, name) for name in ("user", "tags", "addresses", "routes")}
    return NodeFacts(id=node_id, **fields, **facts)


@st.composite
def networks(draw, most=6):
    """Nodes with addresses of their own."""
    made = [draw(reporting(i * 3)) for i in range(draw(st.integers(0, most)))]
    seen: set[str] = set()
    kept = []
    for node in made:
        if not seen & set(node.addresses):
            kept.append(node)
        seen |= set(node.addresses)
    return tuple(kept)


accesses = st.lists(
    st.builds(
        AccessGrant,
        id=st.integers(1, 9),
        user=st.sampled_from([user.id for user in USERS]),
        source=st.sampled_from([None, None, 0, 3, 9]),
        destinations=st.lists(
            st.sampled_from([0, 3, 6, 9, "tag:a", "100.64.0.0/29", "10.1.0.0/16"]), min_size=1, max_size=2, unique=True
        ).map(tuple),
        ip=names(["*", "22", "tcp:80-90"], 2).map(tuple),
        until=st.sampled_from([utc_ns(text.replace("Z", "+00:00")) for text in EXPIRIES]),
    ),
    max_size=3,
    unique_by=lambda grant: grant.id,
)


def engine_of(policy, network, at, access=()):
    engine = Engine.build(Policy.parse(json.dumps(policy)), USERS, network, at=at)
    if access:
        engine.set_access(access)
    return engine


def decides_as(engine, twin, ids):
    asked = [(src, dst, *kind) for src in ids for dst in ids for kind in KINDS]
    expected = [twin.decide(*question) for question in asked]
    assert [engine.decide(*question) for question in asked] == expected
    columns = np.array(asked, dtype=np.uint32).reshape(-1, 4).T
    types = (np.uint32, np.uint32, np.uint8, np.uint16)
    batch = [np.ascontiguousarray(column.astype(kind)) for column, kind in zip(columns, types, strict=True)]
    assert engine.decide_many(*batch).tolist() == expected
    assert engine.decide_each([(src, dst) for src in ids for dst in ids], KINDS).ravel().tolist() == expected
    for src in ids:
        assert set(engine.visible(src)) == twin.visible(src)


@settings(max_examples=60, deadline=None)
@given(own_policies(), networks(), times, accesses)
def test_decisions_and_sight_are_the_twins(policy, network, at, access):
    engine, twin = engine_of(policy, network, at, access), Twin(policy, USERS, network, at, access)
    ids = [node.id for node in network]
    decides_as(engine, twin, ids)
    for src in ids:
        for dst in ids:
            assert engine.explain(src, dst, 6, 22).allowed == twin.decide(src, dst, 6, 22)


@settings(max_examples=60, deadline=None)
@given(own_policies(), networks(4), times, times)
def test_explanations_hold_at_other_times(policy, network, at, other):
    engine, twin = engine_of(policy, network, at), Twin(policy, USERS, network, other)
    for src in network:
        for dst in network:
            for kind in KINDS[:4]:
                assert engine.explain(src.id, dst.id, *kind, at=other).allowed == twin.decide(src.id, dst.id, *kind)


def comes_in(rules, source, target, peer_class, address, inner, kind):
    """Whether a native filter of `target` lets in a packet to `inner`, an address of its own or behind it."""
    protocol, port = kind

    def inside(one, prefixes):
        return any(ipaddress.ip_address(one) in ipaddress.ip_network(prefix) for prefix in prefixes)

    def matches(rule):
        same = rule.same_owner and source.user is not None and source.user == target.user
        return (
            (peer_class in rule.classes or same or inside(address, rule.prefixes))
            and (not rule.protocols or protocol in rule.protocols)
            and (not rule.ports or protocol not in WITH_PORTS or any(a <= port <= b for a, b in rule.ports))
            and (inside(inner, rule.destinations) if rule.destinations else inner in target.addresses)
        )

    matching = [rule for rule in rules if matches(rule)]
    return bool(matching) and not any(rule.deny for rule in matching)


BEHIND = ["10.1.2.3", "10.9.9.9", "192.168.0.9"]


@settings(max_examples=60, deadline=None)
@given(own_policies(), networks(5), times, accesses)
def test_filters_let_in_what_the_twin_allows(policy, network, at, access):
    engine, twin = engine_of(policy, network, at, access), Twin(policy, USERS, network, at, access)
    for target in network:
        native, shaped = engine.native_filter(target.id), engine.packet_filter(target.id)
        served = [ipaddress.ip_network(route) for route in target.routes]
        behind = [one for one in BEHIND if any(ipaddress.ip_address(one) in route for route in served)]
        ways = [
            (source, address, inner)
            for source in network
            if source.id != target.id
            for address in source.addresses
            for inner in (*target.addresses, *behind)
            if (":" in address) == (":" in inner)
        ]
        for source, address, inner in ways:
            for kind in KINDS:
                expected = twin.decide_address(address, inner, *kind)
                assert engine.decide_address(address, inner, *kind) == expected
                assert engine.explain_address(address, inner, *kind).allowed == expected
                assert comes_in(native, source, target, engine.class_of(source.id), address, inner, kind) == expected
                assert lets_in(shaped, address, inner, *kind) == expected


def lets_in(rules, source, target, proto, port):
    """Whether a filter in the original's shape lets a packet in."""

    def holds(text, address):
        if text == "*":
            return True
        first, _, last = text.partition("-")
        one = ipaddress.ip_address(address)
        if last:
            ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
            return ends[0].version == one.version and ends[0] <= one <= ends[1]
        return one in ipaddress.ip_network(text)

    return any(
        proto in rule.get("IPProto", (6, 17, 1, 58))
        and any(holds(text, source) for text in rule["SrcIPs"])
        and any(
            holds(entry["IP"], target)
            and (proto not in WITH_PORTS or entry["Ports"]["First"] <= port <= entry["Ports"]["Last"])
            for entry in rule["DstPorts"]
        )
        for rule in rules
    )


@settings(max_examples=60, deadline=None)
@given(own_policies(), times)
def test_windows_turn_when_the_twins_do(policy, at):
    engine, own = engine_of(policy, (), at), policy["ghostwire"]
    windows = [entry for entries in own["groups"].values() for entry in entries]
    windows += [rule for section in ("acls", "grants", "deny") for rule in own.get(section, ())]
    turns = [turn for window in windows if (turn := next_turn(window, own["schedules"], at))]
    found = engine.next_turn(at)
    assert min(turns, default=0) == (0 if found > at + 9 * 96 * QUARTER and not turns else found)


def answers(engine, ids):
    return {i: (set(engine.visible(i)), engine.class_of(i), engine.native_filter(i), ends(engine, i)) for i in ids}


def ends(engine, node_id):
    """Until when a node sees each of its peers."""
    told = engine.sight_ends(node_id)
    return {other: told.of(engine.class_of(other), other) for other in engine.visible(node_id)}


def told(answer, before, network):
    """A node's map: its peers as it is told of them, its filter, and when it loses sight of whom."""
    peers = {(i, looks(network[i]), before[i][1]) for i in answer[0]}
    return peers, answer[1:]


@st.composite
def steps(draw):
    at = draw(times)
    changes = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["turn", "turn", "access", "node", "leave", "edit"]))
        made = {
            "turn": times,
            "access": accesses,
            "node": st.integers(0, 5).flatmap(lambda i: reporting(i * 3)),
            "leave": st.integers(0, 5).map(lambda i: i * 3),
            "edit": st.lists(denials(), max_size=3),
        }[kind]
        changes.append((kind, draw(made)))
    return at, changes


@settings(max_examples=60, deadline=None)
@given(own_policies(), networks(5), steps())
def test_a_history_of_turns_ends_where_a_fresh_compilation_begins(policy, network, history):
    at, changes = history
    present, access = {node.id: node for node in network}, []
    engine = engine_of(policy, network, at)
    for kind, what in changes:
        before, shown = answers(engine, present), dict(present)
        if kind == "turn":
            at, affected = what, engine.turn(what)
        elif kind == "access":
            access, affected = what, engine.set_access(what)
        elif kind == "node":
            affected, present[what.id] = engine.update(what), what
        elif kind == "leave":
            affected = engine.leave(what)
            present.pop(what, None)
        else:
            edited = policy | {"ghostwire": policy["ghostwire"] | {"deny": what}}
            found = engine.edit(Policy.parse(json.dumps(edited)))
            if found is None:
                continue
            affected, policy = found, edited
        after = answers(engine, present)
        for i in shown.keys() & present.keys():
            if told(before[i], before, shown) != told(after[i], after, present):
                assert i in affected, kind
    used = {address for node in present.values() for address in node.addresses}
    if len(used) == sum(len(node.addresses) for node in present.values()):
        decides_as(engine, Twin(policy, USERS, present.values(), at, access), list(present))


ssh_rules = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["accept", "check"]),
        "src": names(["group:y", "ann@", "autogroup:member"], 2),
        "dst": st.sampled_from([["tag:a"], ["tag:b", "tag:c"]]),
        "users": st.sampled_from([["root"], ["autogroup:nonroot"]]),
    }
)
attributes = st.fixed_dictionaries(
    {
        "target": names(["*", "group:y", "tag:c", "half", "dan@"], 2),
        "attr": st.sampled_from([["custom:x"], ["custom:y", "funnel"]]),
    }
)


@settings(max_examples=80, deadline=None)
@given(
    own_policies(),
    networks(5),
    times,
    st.lists(
        st.tuples(times, st.lists(ssh_rules, max_size=2), st.lists(attributes, max_size=2)), min_size=1, max_size=4
    ),
)
def test_whose_logins_or_attributes_change_is_among_the_affected(policy, network, at, steps):
    engine = engine_of(policy, network, at)
    ids = [node.id for node in network]
    for at, ssh, attrs in steps:
        before = {i: (engine.ssh_rules(i), engine.capabilities(i)) for i in ids}
        policy = policy | {"ssh": ssh, "nodeAttrs": attrs}
        affected = engine.edit(Policy.parse(json.dumps(policy)))
        if affected is None:
            engine, affected = engine_of(policy, network, engine.at), set(ids)
        affected = set(affected) | set(engine.turn(at))
        after = {i: (engine.ssh_rules(i), engine.capabilities(i)) for i in ids}
        assert {i for i in ids if before[i] != after[i]} <= affected
        fresh = engine_of(policy, network, at)
        assert after == {i: (fresh.ssh_rules(i), fresh.capabilities(i)) for i in ids}


@settings(max_examples=100, deadline=None)
@given(own_policies(), networks(4), times)
def test_what_ends_by_itself_ends_in_the_filter(policy, network, at):
    """An agent without its coordinator closes at `until` what closes then; denials that begin it cannot know."""
    policy["ghostwire"]["deny"] = []
    engine = engine_of(policy, network, at)
    turn = engine.next_turn(at)
    if not turn:
        return
    twin = Twin(policy, USERS, network, turn)
    for target in network:
        rules = engine.native_filter(target.id)
        assert all(rule.until == 0 or rule.until >= turn for rule in rules)
        left = [rule for rule in rules if not 0 < rule.until <= turn]
        for source in network:
            for address in source.addresses if source.id != target.id else ():
                for inner in target.addresses:
                    for kind in KINDS[:4] if (":" in address) == (":" in inner) else ():
                        if comes_in(left, source, target, engine.class_of(source.id), address, inner, kind):
                            assert twin.decide_address(address, inner, *kind)


@settings(max_examples=150, deadline=None)
@given(own_policies(), networks(5), times, accesses)
def test_who_is_seen_for_a_time_is_known_beforehand(policy, network, at, access):
    """An agent without its coordinator loses sight of exactly those whom the next turn takes from it.

    But for what rests on attributes that end.
    """
    policy["ghostwire"]["deny"] = []
    policy["nodeAttrs"][0]["target"] = ["*"]
    engine, own = engine_of(policy, network, at), policy["ghostwire"]
    engine.set_access(access)
    turn = engine.next_turn(at)
    if not turn:
        return
    before = {node.id: ends(engine, node.id) for node in network}
    windows = [entry for entries in own["groups"].values() for entry in entries]
    windows += [rule for section in ("acls", "grants") for rule in own.get(section, ())]
    opens = any(is_open(window, own["schedules"], turn) > is_open(window, own["schedules"], at) for window in windows)
    engine.turn(turn)
    for node in network:
        after = set(engine.visible(node.id))
        for other, until in before[node.id].items():
            assert until == 0 or until >= turn
            if other not in after:
                assert until == turn
            elif not opens:
                assert until != turn


def team_policy(draw, deny):
    """Teams with services, duty by schedule, access that ends, and denials."""
    teams = [f"group:team{i}" for i in range(10)]
    hours = [{"days": ["mon-fri"], "hours": [f"{draw.randrange(6, 10):02}:00-17:30"], "zone": zone} for zone in ZONES]
    duty = [
        {"member": f"u{i}@", "schedule": f"s{i % len(hours)}"}
        | ({"expires": f"2026-12-{1 + i % 28:02}T00:00:00Z"} if i % 3 else {})
        for i in range(0, 50, 4)
    ]
    rules = [{"src": [team], "dst": [f"tag:t{i}"], "ip": ["tcp:443"]} for i, team in enumerate(teams)]
    limited = [
        {"src": [f"group:team{i}"], "dst": [f"tag:t{(i + 1) % 10}"], "ip": ["tcp:22"], "schedule": f"s{i % len(hours)}"}
        for i in range(0, 10, 2)
    ]
    return {
        "groups": {team: [f"u{i}@" for i in range(50) if i % 10 == number] for number, team in enumerate(teams)},
        "tagOwners": {f"tag:t{i}": [] for i in range(10)},
        "grants": [*rules, {"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}],
        "ghostwire": {
            "schedules": {f"s{i}": schedule for i, schedule in enumerate(hours)},
            "groups": {"group:duty": duty},
            "grants": [*limited, {"src": ["group:duty"], "dst": ["tag:t0", "tag:t5"], "ip": ["tcp:22"]}],
            "deny": deny,
        },
    }


def test_the_affected_of_turns_access_and_edits_are_few_more_than_those_whose_map_changes():
    """A seeded month of a network of teams: windows turn, access comes and goes, denials are edited."""
    draw = random.Random(7)
    people = [UserFacts(id=i + 1, name=f"u{i}", email=f"u{i}@example.com") for i in range(50)]
    present = {}
    for i in range(110):
        own = {"tags": (f"tag:t{i % 10}",)} if i % 3 == 0 else {"user": draw.randrange(50) + 1}
        present[i] = NodeFacts(id=i, addresses=(f"100.64.1.{i}",), **own)
    deny, access = [], []
    at = utc_ns("2026-11-23T00:00:00+00:00")

    def policy():
        return Policy.parse(json.dumps(team_policy(random.Random(1), deny)))

    engine = Engine.build(policy(), people, present.values(), at=at)
    named = changed = 0
    for step in range(120):
        before = answers(engine, present)
        if step % 4 == 1:
            user, target = draw.randrange(50) + 1, draw.randrange(0, 110, 3)
            grant = AccessGrant(id=step, user=user, destinations=(target,), ip=("tcp:22",), until=at + 4 * 3600 * 10**9)
            access = [*access[-3:], grant]
            affected = engine.set_access(access)
        elif step % 8 == 3:
            group = f"group:team{draw.randrange(10)}"
            deny = [
                *deny[-2:],
                {"src": [group], "dst": [f"tag:t{draw.randrange(10)}"], "ip": draw.choice([["22"], []])},
            ]
            affected = engine.edit(policy())
            assert affected is not None
        else:
            at = engine.next_turn(at)
            affected = engine.turn(at)
        after = answers(engine, present)
        really = {i for i in present if told(before[i], before, present) != told(after[i], after, present)}
        assert set(affected) >= really
        named, changed = named + len(affected), changed + len(really)
    assert changed > 500
    assert named <= 1.2 * changed
