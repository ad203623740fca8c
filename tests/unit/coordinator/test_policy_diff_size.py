"""What comparing policies takes where each user is named alone, and so a class of nodes."""

import subprocess
import sys

COUNT = 6_000
"""Cells between so many classes take 137 MiB, in each engine."""
FEW = 450
"""200,000 pairs of classes, of which each kept for itself takes half a KiB."""
MOST_MIB = 48
PEOPLE = """
import json, resource, sys
from ghostwire.coordinator.census import Directory
from ghostwire.coordinator.policy_diff import Meaning, compare, only_removes
from ghostwire.policy import POOLS, Engine, NodeFacts, Policy, UserFacts

count = int(sys.argv[1])
users = [UserFacts(id=number + 1, name=f"u{number}") for number in range(count)]
addresses = [f"100.64.{number >> 8}.{number & 255}" for number in range(count)]
nodes = [NodeFacts(id=number, user=number + 1, addresses=(addresses[number],)) for number in range(count)]
everyone = Directory(tuple(users), tuple(nodes), POOLS)
rules = [
    {"action": "accept", "src": [f"u{number}@"], "dst": [f"u{number * 7 % count}@:22"]} for number in range(count)
]


def meaning(acls, **sections):
    text = json.dumps({"acls": acls} | sections)
    return Meaning(text, Engine.build(Policy.parse(text), users, nodes))


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

"""
SOME_RULES = (
    PEOPLE
    + """
other = {"action": "accept", "src": ["u5@"], "dst": ["u9@:443"]}
before, fewer, more = meaning(rules), meaning(rules[:-1]), meaning([*rules, other], groups={"group:some": ["u1@"]})
built = peak()
lost, gained = compare(before, fewer, everyone), compare(before, more, everyone)
removes = only_removes(before, fewer, everyone), only_removes(before, more, everyone)
for edge in (*lost.gained, *lost.lost, *gained.gained, *gained.lost):
    print(edge.sources, edge.targets, edge.access[-1])
print(*removes)
print(peak() - built)
"""
)
ALL_GAIN = (
    PEOPLE
    + """
people = [user.name + "@" for user in users]
other = {"action": "accept", "src": people, "dst": [name + ":443" for name in people]}
before, after = meaning(rules), meaning([*rules, other])
built = peak()
print(sum(edge.count for edge in compare(before, after, everyone).gained))
print(peak() - built)
"""
)


def said(script: str, count: int) -> list[str]:
    """What a process of its own prints of so many people."""
    done = subprocess.run([sys.executable, "-c", script, str(count)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout.splitlines()


def test_comparing_builds_nothing_between_all_classes() -> None:
    *answers, peak = said(SOME_RULES, COUNT)
    assert answers == ["(5999,) (5993,) tcp,udp 22", "(5,) (9,) tcp,udp 443", "True False"]
    assert int(peak) < MOST_MIB


def test_pairs_that_gain_the_same_are_not_kept_one_by_one() -> None:
    answer, peak = said(ALL_GAIN, FEW)
    assert answer == str(FEW * (FEW - 1))
    assert int(peak) < MOST_MIB
