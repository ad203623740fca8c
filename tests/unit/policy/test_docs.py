"""The examples of docs/policy.md are read, or refused where the page says so."""

import re
from pathlib import Path

import pytest

from ghostwire.errors import ValidationError
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts
from tests.reference.windows import utc_ns

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
EXAMPLES = re.findall(r"```hujson( refused)?\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(("refused", "text"), EXAMPLES)
def test_an_example_holds(refused, text):
    if refused:
        with pytest.raises(ValidationError):
            Policy.parse(text)
        return
    policy = Policy.parse(text)
    users = [UserFacts(id=1, name="alice", email="alice@example.com", role="owner")]
    nodes = [NodeFacts(id=0, user=1, addresses=("100.64.0.1",), os="linux", version="1.3")]
    nodes += [
        NodeFacts(id=i, tags=(tag,), addresses=(f"100.64.0.{i + 1}",)) for i, tag in enumerate(("tag:web", "tag:db"), 1)
    ]
    engine = Engine.build(policy, users, nodes, at=utc_ns("2026-11-23T12:00:00+01:00"))
    engine.check()
    assert set(engine.visible(0)) <= {1, 2}
    assert any(engine.decide(0, i, 6, port) for i in (1, 2) for port in (443, 5432))


def test_the_example_of_the_additions_means_what_the_page_says():
    (text,) = (text for refused, text in EXAMPLES if '"requests"' in text)
    people = ["alice", "bob", "carol"]
    users = [UserFacts(id=i, name=name, email=f"{name}@example.com") for i, name in enumerate(people, 1)]
    nodes = [NodeFacts(id=i, user=i + 1, addresses=(f"100.64.0.{i + 1}",), os="linux", version="1.3") for i in range(3)]
    nodes += [NodeFacts(id=3, tags=("tag:web",), addresses=("100.64.0.9",))]
    nodes += [NodeFacts(id=4, tags=("tag:db",), addresses=("100.64.0.10",))]
    engine = Engine.build(Policy.parse(text), users, nodes, at=utc_ns("2026-11-23T12:00:00+01:00"))
    assert [engine.decide(i, 4, 6, 5432) for i in range(4)] == [True, True, False, True]
    assert not engine.decide(0, 3, 6, 22)
    assert engine.decide(0, 3, 6, 443)
    assert engine.request(1, 4, ["tcp:2222"]).approvers == (3,)
    assert engine.next_turn(engine.at) == utc_ns("2026-11-23T17:30:00+01:00")
    engine.turn(engine.next_turn(engine.at))
    assert [engine.decide(i, 4, 6, 5432) for i in range(4)] == [False, True, False, True]
    assert engine.decide(0, 3, 6, 22)
    assert [remark.kind for remark in engine.lint()].count("reported") == 1
