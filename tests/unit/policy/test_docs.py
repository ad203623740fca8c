"""The examples of docs/policy.md are read, or refused where the page says so."""

import re
from pathlib import Path

import pytest

from ghostwire.errors import ValidationError
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
EXAMPLES = re.findall(r"```hujson( refused)?\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


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
    engine = Engine.build(policy, users, nodes)
    engine.check()
    assert set(engine.visible(0)) <= {1, 2}
    assert any(engine.decide(0, i, 6, port) for i in (1, 2) for port in (443, 5432))
