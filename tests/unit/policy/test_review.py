"""Looking at a policy beside its use: remarks, and its own tests."""

import json

import pytest

from ghostwire.errors import ValidationError
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts

USERS = [UserFacts(id=i, name=name, email=f"{name}@example.com") for i, name in enumerate(("ann", "bob"), 1)]
NODES = [
    NodeFacts(id=0, user=1, addresses=("100.64.0.1",)),
    NodeFacts(id=1, user=2, addresses=("100.64.0.2",)),
    NodeFacts(id=2, tags=("tag:web",), addresses=("100.64.0.3",)),
]


def accept(src, dst, **more):
    return {"action": "accept", "src": src, "dst": dst} | more


def engine(*acls, **sections):
    owners = {"tag:web": [], "tag:idle": []}
    return Engine.build(Policy.parse(json.dumps({"tagOwners": owners, "acls": acls} | sections)), USERS, NODES)


def kinds(built):
    return [(remark.kind, remark.message) for remark in built.lint()]


def test_a_plain_policy_gets_no_remark():
    assert kinds(engine(accept(["ann@"], ["tag:web:443"]), accept(["bob@"], ["tag:web:22"]))) == []


@pytest.mark.parametrize(
    ("acls", "kind", "words"),
    [
        ([accept(["*"], ["*:*"])], "broad", "acls[0] lets everyone reach everything"),
        ([accept(["ann@"], ["tag:web:1"])] * 2, "duplicate", "acls[1] says the same as acls[0]"),
        ([accept(["*"], ["tag:web:1-9"]), accept(["ann@"], ["tag:web:2"])], "shadowed", "acls[1] allows nothing"),
        ([accept(["ann@"], ["*:1-9"]), accept(["ann@"], ["tag:web:2"])], "shadowed", "acls[1] allows nothing"),
        ([accept(["ann@"], ["tag:idle:1"])], "idle", "acls[0] has no destination"),
        ([accept(["tag:idle"], ["tag:web:1"])], "idle", "acls[0] has no source"),
    ],
)
def test_remarks(acls, kind, words):
    found = kinds(engine(*acls))
    assert any(k == kind and words in message for k, message in found), found


def test_what_is_not_covered_is_not_shadowed():
    found = kinds(engine(accept(["ann@"], ["tag:web:1-9"], proto="tcp"), accept(["ann@"], ["tag:web:2"])))
    assert found == []
    found = kinds(engine(accept(["ann@"], ["*:*"]), accept(["ann@"], ["autogroup:self:22"])))
    assert "shadowed" not in dict(found)


def test_names_that_nothing_names():
    built = engine(groups={"group:a": []}, hosts={"box": "10.0.0.1"}, ipsets={"ipset:b": []})
    assert {message for kind, message in kinds(built) if kind == "unused"} == {
        'group "group:a" is named nowhere',
        'host "box" is named nowhere',
        'ipset "ipset:b" is named nowhere',
    }


def test_the_policy_own_tests_are_judged():
    rule, tests = (
        accept(["ann@"], ["tag:web:443"]),
        [{"src": "ann@", "accept": ["tag:web:443"], "deny": ["tag:web:22"]}],
    )
    engine(rule, tests=tests).check()
    with pytest.raises(
        ValidationError, match=r"test\(s\) failed \(line 1, column .*expected to be accepted, is denied"
    ):
        engine(rule, tests=[{"src": "bob@", "accept": ["tag:web:443"]}]).check()
