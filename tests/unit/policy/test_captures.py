"""Every recorded case of the service, replayed: the share reached, and that the judge can tell right from wrong."""

import copy
import json
from collections import Counter
from pathlib import Path

import pytest

from ghostwire.errors import ValidationError
from ghostwire.policy import Policy, compile, directory, replay
from tests.reference.policy_score import cases, failures, score

FOLDER = Path(__file__).parents[2] / "data" / "captures"
KINDS = ["acl", "exitnode", "grant", "nodeattrs", "policytest", "routes", "ssh", "sshtest"]


def load(kind):
    return list(cases(FOLDER / f"{kind}.jsonl.xz"))


def answers(recorded):
    """Replay with nothing but what the contract allows to be looked at."""
    lines = (json.dumps({"test_id": case["test_id"], "input": case["input"]}) for case in recorded)
    return {answer["test_id"]: answer for answer in map(json.loads, replay.run(lines))}


def test_the_recordings_are_reached():
    passed, total, lost = Counter(), Counter(), []
    for kind in KINDS:
        recorded = load(kind)
        answered = answers(recorded)
        for case in recorded:
            total[case["kind"]] += 1
            found = failures(case, answered[case["test_id"]])
            passed[case["kind"]] += not found
            lost += [f"{case['test_id']}: {found[0]}"] if found else []
    shares = score(passed, total)
    assert sum(total.values()) == 434
    assert shares["all"] >= 0.99, lost
    assert all(share >= 0.95 for share in shares.values()), (shares, lost)


def test_the_judge_sees_what_is_wrong():
    recorded = next(case for case in load("acl") if case["expected"]["nodes"])
    answer = answers([recorded])[recorded["test_id"]]
    assert failures(recorded, answer) == []
    name = next(name for name, view in recorded["expected"]["nodes"].items() if view["peers"])
    for spoil in (
        lambda view: view["packet_filter"].reverse() or view["packet_filter"].append({"SrcIPs": ["*"]}),
        lambda view: view["packet_filter"][0]["SrcIPs"].append("10.0.0.1"),
        lambda view: view["packet_filter"][0]["DstPorts"].append(view["packet_filter"][0]["DstPorts"][0]),
        lambda view: view["peers"].popitem(),
        lambda view: next(iter(view["peers"].values()))["allowed_ips"].append("10.0.0.0/8"),
    ):
        wrong = copy.deepcopy(answer)
        spoil(wrong["nodes"][name])
        assert failures(recorded, wrong)
    assert failures(recorded, answer | {"accepted": False})
    assert failures(recorded, answer | {"nodes": {}})


def test_a_refusal_says_where():
    refused = [case for kind in KINDS for case in load(kind) if not case["expected"]["accepted"]]
    for case, answer in zip(refused, answers(refused).values(), strict=True):
        assert "(line " in answer["error"], case["test_id"]
        assert ", column " in answer["error"], case["test_id"]


def test_a_line_that_is_no_case_is_named():
    with pytest.raises(ValidationError, match="line 2: "):
        list(replay.run(["\n", "{"]))
    with pytest.raises(ValidationError, match="line 1: input"):
        list(replay.run(["{}"]))


def test_the_engine_answers_as_the_replay_does():
    for case in (case for kind in ("grant", "ssh", "nodeattrs") for case in load(kind)[:12]):
        given = case["input"]
        if not case["expected"]["accepted"]:
            continue
        answered = answers([case])[case["test_id"]]["nodes"]
        found = directory(given["users"], given["nodes"], given["tailnet"])
        engine = compile(Policy.parse(given["policy"]), found)
        by_id = {node["id"]: name for name, node in given["nodes"].items()}
        for node_id, name in by_id.items():
            assert engine.packet_filter(node_id) == answered[name]["packet_filter"]
            assert engine.ssh_rules(node_id) == answered[name]["ssh_rules"]
            assert engine.capabilities(node_id) == answered[name]["cap_map"]
            assert {by_id[peer] for peer in engine.visible(node_id)} == set(answered[name]["peers"]), case["test_id"]
