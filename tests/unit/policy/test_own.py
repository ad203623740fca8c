"""Ghostwire's own key: denials, windows, conditions, timed memberships, approved access and requests."""

import json

import pytest

from ghostwire.errors import ValidationError
from ghostwire.policy import AccessGrant, Engine, NodeFacts, Policy, RequestRule, UserFacts
from tests.reference.windows import utc_ns

USERS = [
    UserFacts(id=i, name=name, email=f"{name}@example.com", role=role)
    for i, (name, role) in enumerate([("ann", "admin"), ("bob", "member"), ("cat", "member")], 1)
]
LINUX = NodeFacts(id=0, user=1, addresses=("100.64.0.1", "fd7a:115c:a1e0::1"), os="linux", version="1.10")
MAC = NodeFacts(id=1, user=2, addresses=("100.64.0.2",), os="macos")
WEB = NodeFacts(id=2, tags=("tag:web",), addresses=("100.64.0.3", "fd7a:115c:a1e0::3"))
ROUTER = NodeFacts(id=3, tags=("tag:router",), addresses=("100.64.0.4",), routes=("10.8.0.0/16",))
MONDAY = utc_ns("2026-11-23T10:00:00+01:00")
TO_WEB = {"src": ["*"], "dst": ["tag:web"], "ip": ["tcp:22", "tcp:443"]}


def policy(grants=(), **own):
    return Policy.parse(text(grants, **own))


def text(grants=(), **own):
    sections = {
        "groups": {"group:dev": ["ann@", "bob@"]},
        "tagOwners": {"tag:web": [], "tag:router": []},
        "nodeAttrs": [{"target": ["tag:web", "bob@"], "attr": ["custom:x"]}],
        "grants": list(grants),
        "ghostwire": own,
    }
    return json.dumps(sections, indent=1)


def engine(grants=(), at=MONDAY, **own):
    return Engine.build(policy(grants, **own), USERS, [LINUX, MAC, WEB, ROUTER], at=at)


def test_a_denial_goes_before_every_accept():
    built = engine([TO_WEB], deny=[{"src": ["bob@"], "dst": ["tag:web"], "ip": ["22"]}])
    assert built.decide(1, 2, 6, 443)
    assert not built.decide(1, 2, 6, 22)
    assert built.decide(0, 2, 6, 22)
    assert 2 in built.visible(1)


def test_who_is_denied_everything_is_not_seen():
    built = engine([TO_WEB], deny=[{"src": ["bob@"], "dst": ["tag:web"]}])
    assert 2 not in built.visible(1)
    assert 1 not in built.visible(2)
    assert 2 in built.visible(0)


def test_denying_one_address_of_a_node_denies_the_node():
    built = engine([TO_WEB], deny=[{"src": ["100.64.0.1"], "dst": ["*"]}])
    assert not built.decide_address("fd7a:115c:a1e0::1", "fd7a:115c:a1e0::3", 6, 22)
    assert 2 not in built.visible(0)
    denial = built.native_filter(2)[0]
    assert denial.deny
    assert set(denial.prefixes) == {"100.64.0.1/32", "fd7a:115c:a1e0::1/128"}


def test_a_router_is_seen_while_something_behind_it_may_be_reached():
    to_lan = {"src": ["*"], "dst": ["10.8.0.0/16"], "ip": ["*"]}
    assert 3 in engine([to_lan], deny=[{"src": ["bob@"], "dst": ["10.8.1.0/24"]}]).visible(1)
    assert 3 not in engine([to_lan], deny=[{"src": ["bob@"], "dst": ["10.8.0.0/15"]}]).visible(1)
    assert 3 not in engine([to_lan], deny=[{"src": ["bob@"], "dst": ["*"]}]).visible(1)


def test_denials_come_first_in_the_filter_by_priority():
    deny = [{"src": ["bob@"], "dst": ["tag:web"], "ip": [f"tcp:{port}"]} for port in (1, 2, 3)]
    deny[0]["priority"], deny[2]["priority"] = 500, 10
    rules = engine([TO_WEB], deny=deny).native_filter(2)
    assert [(rule.deny, rule.ports[0][0]) for rule in rules] == [(True, 3), (True, 2), (True, 1), (False, 22)]


def test_a_denial_without_rules_that_accept_takes_from_everything():
    built = Engine.build(
        Policy.parse('{"ghostwire": {"deny": [{"src": ["autogroup:member"], "dst": ["autogroup:tagged"]}]}}'),
        USERS,
        [LINUX, MAC, WEB],
    )
    assert built.decide(0, 1, 6, 22)
    assert not built.decide(0, 2, 6, 22)


def test_the_originals_filter_is_cut():
    built = engine([TO_WEB], deny=[{"src": ["bob@"], "dst": ["tag:web"], "ip": ["tcp:22"]}])
    shaped = built.packet_filter(2)
    assert all("100.64.0.2" not in rule["SrcIPs"] for rule in shaped if rule["DstPorts"][0]["Ports"]["First"] == 22)
    ports = [entry["Ports"]["First"] for rule in shaped if "100.64.0.2" in rule["SrcIPs"] for entry in rule["DstPorts"]]
    assert set(ports) == {443}


def test_tests_of_the_policy_know_denials():
    own = {"deny": [{"src": ["bob@"], "dst": ["tag:web"], "ip": ["tcp:22"]}]}
    sections = json.loads(text([TO_WEB], **own))
    sections["tests"] = [{"src": "bob@", "proto": "tcp", "accept": ["tag:web:443"], "deny": ["tag:web:22"]}]
    Engine.build(Policy.parse(json.dumps(sections)), USERS, [LINUX, MAC, WEB], at=MONDAY).check()
    sections["tests"][0]["accept"].append("tag:web:22")
    with pytest.raises(ValidationError, match=r"test\(s\) failed"):
        Engine.build(Policy.parse(json.dumps(sections)), USERS, [LINUX, MAC, WEB], at=MONDAY).check()


OFFICE = {"office": {"days": ["mon-fri"], "hours": ["09:00-17:30"], "zone": "Europe/Berlin"}}


def test_a_rule_holds_within_its_schedule_and_before_its_end():
    limited = TO_WEB | {"schedule": "office", "expires": "2026-11-24T11:00:00Z"}
    built = engine(schedules=OFFICE, grants=[], at=MONDAY, deny=[], conditions={}, groups={}, acls=[], requests=[])
    assert not built.decide(0, 2, 6, 22)
    built = Engine.build(
        Policy.parse(json.dumps(json.loads(text()) | {"ghostwire": {"schedules": OFFICE, "grants": [limited]}})),
        USERS,
        [LINUX, MAC, WEB],
        at=MONDAY,
    )
    turns = []
    for expected in ("2026-11-23T16:30:00Z", "2026-11-24T08:00:00Z", "2026-11-24T11:00:00Z"):
        turns.append(built.decide(0, 2, 6, 22))
        at = built.next_turn(built.at)
        assert at == utc_ns(expected.replace("Z", "+00:00"))
        if turns[-1]:
            assert {rule.until for rule in built.native_filter(2)} == {at}
        assert set(built.turn(at)) == {0, 1, 2}
    assert turns == [True, False, True]
    assert not built.decide(0, 2, 6, 22)
    assert built.next_turn(built.at) == 0


def test_a_membership_ends_and_the_filter_says_when():
    end = "2026-11-24T00:00:00Z"
    own = {"groups": {"group:oncall": [{"member": "bob@", "expires": end}, {"member": "ann@"}]}}
    built = engine([{"src": ["group:oncall"], "dst": ["tag:web"], "ip": ["tcp:22"]}], **own)
    ends = {rule.classes: rule.until for rule in built.native_filter(2)}
    assert ends == {(built.class_of(0),): 0, (built.class_of(1),): utc_ns(end.replace("Z", "+00:00"))}
    assert set(built.turn(built.next_turn(MONDAY))) == {1, 2}
    assert set(built.visible(2)) == {0}


def test_conditions_ask_for_facts_tags_and_attributes():
    conditions = {
        "condition:new": ["os == 'linux'", "version >= '1.9'"],
        "condition:given": ["attribute == 'custom:x'"],
        "condition:web": ["tag == 'tag:web'"],
    }
    to_router = {"src": ["*"], "dst": ["tag:router"], "ip": ["tcp:22"]}
    for names, expected in (
        (["condition:new"], [True, False, False]),
        (["condition:given"], [False, True, True]),
        (["condition:web"], [False, False, True]),
        (["condition:new", "condition:web"], [True, False, True]),
    ):
        sections = json.loads(text()) | {
            "ghostwire": {"conditions": conditions, "grants": [to_router | {"when": names}]}
        }
        built = Engine.build(Policy.parse(json.dumps(sections)), USERS, [LINUX, MAC, WEB, ROUTER], at=MONDAY)
        assert [built.decide(i, 3, 6, 22) for i in (0, 1, 2)] == expected


def test_what_a_node_reports_of_itself_is_marked():
    conditions = {"condition:linux": ["os == 'linux'"], "condition:given": ["attribute == 'custom:x'"]}
    for name, facts in (("condition:linux", ("os",)), ("condition:given", ())):
        sections = json.loads(text()) | {"ghostwire": {"conditions": conditions, "grants": [TO_WEB | {"when": [name]}]}}
        built = Engine.build(Policy.parse(json.dumps(sections)), USERS, [LINUX, MAC, WEB], at=MONDAY)
        (found,) = built.explain(0 if facts else 1, 2, 6, 22).rules
        assert found.reported == facts
        assert found.conditions == ((name, True),)
        reported = [remark.message for remark in built.lint() if remark.kind == "reported"]
        assert reported == ["ghostwire.grants[0] rests on what nodes report of themselves: os"] * len(facts)


def test_explanations_name_the_denial_and_the_window():
    deny = [{"src": ["bob@"], "dst": ["tag:web"], "ip": ["22"], "schedule": "office"}]
    built = engine([TO_WEB], schedules=OFFICE, deny=deny)
    denied = built.explain(1, 2, 6, 22)
    assert not denied.allowed
    assert [rule.section for rule in denied.rules] == ["ghostwire.deny", "grants"]
    assert denied.rules[0].denies
    assert text([TO_WEB], schedules=OFFICE, deny=deny).split("\n")[denied.rules[0].line - 1].strip() == "{"
    (limit,) = denied.rules[0].limits
    assert (limit.of, limit.schedule, limit.open) == ("", "office", True)
    assert built.explain(1, 2, 6, 22, at=limit.turns).allowed


def test_approved_access_ends_and_yields_to_denials():
    built = engine([])
    access = AccessGrant(id=7, user=2, destinations=(2,), ip=("tcp:22",), until=MONDAY + 60)
    assert set(built.set_access([access])) >= {1, 2}
    assert built.decide(1, 2, 6, 22)
    assert not built.decide(1, 2, 6, 23)
    assert not built.decide(0, 2, 6, 22)
    assert [rule.until for rule in built.native_filter(2)] == [MONDAY + 60]
    assert built.explain(1, 2, 6, 22).rules[0].section == "access"
    assert built.next_turn(MONDAY) == MONDAY + 60
    assert set(built.turn(MONDAY + 60)) == {1, 2}
    assert not built.decide(1, 2, 6, 22)
    closed = engine([], deny=[{"src": ["bob@"], "dst": ["*"]}])
    closed.set_access([access])
    assert not closed.decide(1, 2, 6, 22)


def test_access_for_one_node_is_not_for_the_others_of_its_user():
    second = NodeFacts(id=4, user=2, addresses=("100.64.0.5",))
    built = Engine.build(policy(), USERS, [MAC, WEB, second], at=MONDAY)
    built.set_access([AccessGrant(id=1, user=2, source=4, destinations=("tag:web",), ip=("22",), until=MONDAY + 9)])
    assert built.decide(4, 2, 6, 22)
    assert not built.decide(1, 2, 6, 22)


def test_access_is_for_nodes_tags_and_prefixes():
    with pytest.raises(ValidationError, match="neither a tag nor a prefix"):
        engine().set_access([AccessGrant(id=1, user=2, destinations=("group:dev",), ip=("22",), until=MONDAY + 9)])


SSH = {
    "name": "ssh", "src": ["group:dev"], "dst": ["tag:web"], "ip": ["tcp:22", "tcp:8000-8999"],
    "approvers": ["autogroup:admin"], "longest": "4h",
}  # fmt: skip


def test_a_request_finds_its_rule():
    built = engine(requests=[SSH])
    assert built.request(2, 2, ["tcp:22", "tcp:8080"]) == RequestRule("ssh", (1,), 4 * 3600)
    assert built.request(3, 2, ["tcp:22"]) is None
    assert built.request(2, 3, ["tcp:22"]) is None
    assert built.request(2, 2, ["tcp:23"]) is None
    assert built.request(2, 2, ["22"]) is None
    with pytest.raises(ValidationError):
        built.request(2, 2, ["tcp:99999"])


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"denyy": []}, "did you mean"),
        ({"schedules": {"s": {"day": ["mon"]}}}, 'did you mean "days"'),
        ({"schedules": {"s": {"days": ["monday"]}}}, "is not a day"),
        ({"schedules": {"s": {"hours": ["9-17"]}}}, "are not hours"),
        ({"schedules": {"s": {"hours": ["09:00-24:01"]}}}, "are not hours"),
        ({"schedules": {"s": {"hours": ["09:00-09:00"]}}}, "are not hours"),
        ({"schedules": {"s": {"hours": ["09:00-10:00"] * 49}}}, "too many hours"),
        ({"schedules": {"s": {"zone": "Europe/Berlim"}}}, 'did you mean "Europe/Berlin"'),
        ({"schedules": OFFICE, "deny": [{"src": ["ann@"], "dst": ["*"], "schedule": "ofice"}]}, 'mean "office"'),
        ({"deny": [{"src": ["bob@"], "dst": ["*"], "expires": "tomorrow"}]}, "expires is not a time"),
        ({"deny": [{"src": ["bob@"], "dst": ["*"], "expires": "9999-01-01T00:00:00Z"}]}, "expires is not a time"),
        ({"deny": [{"src": ["bob@"], "dst": ["*"], "priority": 1001}]}, "expected 0 to 1000"),
        ({"deny": [{"src": ["bob@"], "dst": ["*"], "priority": "high"}]}, "priority is not a number"),
        ({"deny": [{"src": ["bob@"]}]}, "needs both src and dst"),
        ({"deny": [{"src": ["tag:none"], "dst": ["*"]}]}, "tag not found"),
        ({"deny": [{"src": ["*"], "dst": ["autogroup:self"]}]}, "autogroup:self"),
        ({"deny": [{"src": ["bob@"], "dst": ["*"], "when": ["condition:x"]}]}, "condition not found"),
        ({"deny": [{"src": ["bob@"], "dst": ["*"], "when": []}]}, "when is empty"),
        ({"deny": [{"src": ["bob@"], "dst": ["*"], "ip": ["tcp:70000"]}]}, "tcp:22"),
        ({"conditions": {"x": []}}, "must start with 'condition:'"),
        ({"conditions": {"condition:x": ["oss == 'linux'"]}}, 'did you mean "os"'),
        ({"conditions": {"condition:x": ["tag > 'tag:web'"]}}, "has no order"),
        ({"conditions": {"condition:x": ["os = 'linux'"]}}, "expected =="),
        ({"groups": {"oncall": []}}, "must start with 'group:'"),
        ({"groups": {"group:oncall": [{"member": "tag:web"}]}}, "invalid group member"),
        ({"groups": {"group:oncall": ["bob@"]}}, "not an object"),
        ({"requests": [SSH, SSH]}, "is defined twice"),
        ({"requests": [SSH | {"approvers": ["tag:web"]}]}, "is not of users"),
        ({"requests": [SSH | {"approvers": []}]}, "needs approvers"),
        ({"requests": [SSH | {"longest": "forever"}]}, "not a duration"),
        ({"requests": [SSH | {"longest": "0s"}]}, "not a duration"),
        ({"requests": [SSH | {"ip": []}]}, "needs ip"),
        ({"grants": [TO_WEB | {"priority": 3}]}, "unknown field"),
    ],
)  # fmt: skip
def test_a_fault_is_refused_with_its_place(own, words):
    with pytest.raises(ValidationError) as refused:
        policy(**own)
    message = refused.value.message
    assert words in message
    line = int(message.split("(line ")[1].split(",")[0])
    assert line > text().count("\n") - 3


def test_only_rules_under_the_key_may_be_limited():
    with pytest.raises(ValidationError, match="unknown field"):
        policy([TO_WEB | {"expires": "2030-01-01T00:00:00Z"}])
