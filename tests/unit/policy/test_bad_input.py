"""Texts that are meant to hurt: an error with a place, in bounded time and memory, and the policy in force stays."""

import json
import subprocess
import sys

import pytest

from ghostwire.coordinator.commands import ApplyPolicy
from ghostwire.errors import ValidationError
from ghostwire.policy import Engine, Policy, UserFacts
from ghostwire.testing.simnet import SimNet
from tests.reference.netmap_check import check_all

MIB = 1 << 20
LIMITS = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({3 << 30}, {3 << 30}))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from ghostwire.errors import ValidationError
from ghostwire.policy import Policy
MIB = {MIB}
try:
    policy = Policy.parse(eval(sys.argv[1]))
except ValidationError as error:
    print(error.message)
else:
    print("read", len(policy))
"""
"""What a child does with a text, within 3 GiB of addresses and a minute of CPU: far more is a fault."""


def outcome(expression: str) -> str:
    """What becomes of a text, given as an expression so that it need not pass through a command line."""
    done = subprocess.run([sys.executable, "-c", LIMITS, expression], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'[' * 8 * MIB", "nested too deeply (line 1, column 66;"),
        ("'{\"a\":' * (8 * MIB // 5)", "nested too deeply (line 1, column 326;"),
        ("'{\"acls\":' + '[{\"src\":' * MIB", "nested too deeply (line 1,"),
        ("'//\\n' * (8 * MIB // 3)", "the policy is empty (line 2796203, column 1;"),
        ("'/*' * 4 * MIB", "(line 1, column 6)"),
        ("'{\"groups\":{\"' + 'x' * 8 * MIB", "(line 1, column 12)"),
        ("'{\"acls\":' + '9' * 8 * MIB", "(line 1,"),
        ("'{\"acls\":[' + '0,' * 4 * MIB + ']}'", "(line 1, column 10"),
        ("'{\"acls\":[' + '{},' * 2 * MIB + ']}'", "(line 1, column"),
        ("b'\\xff' * 8 * MIB", "is not UTF-8 (line 1, column 1;"),
        ("b' ' * MIB + b'\\n\\xc3'", "is not UTF-8 (line 2, column 1;"),
        ("' ' * (64 * MIB + 1)", "the policy has 67108865 bytes (line 1, column 1; at most 67108864 are read)"),
        ("'é' * (32 * MIB + 1)", "the policy has 67108866 bytes (line 1, column 1; at most 67108864 are read)"),
        ("'{\"groups\":{' + ','.join('\"group:g%d\":[]' % i for i in range(10**6)) + '},\"acls\":[]}'", "read 0"),
        (
            '\'{"acls":[{"action":"accept","src":[\''
            " + ','.join('\"10.%d.%d.0/%d\"' % (i >> 8 & 255, i & 255, 8 + i % 25) for i in range(300_000))"
            ' + \'],"dst":["*:*"]}]}\'',
            "read 1",
        ),
        (
            '\'{"ipsets":{"ipset:a":[\''
            " + ','.join('\"%s 10.%d.%d.%d\"' % (('add', 'remove')[i % 3 // 2], i >> 16, i >> 8 & 255, i & 255)"
            " for i in range(300_000))"
            " + ']},\"acls\":[]}'",
            "read 0",
        ),
        (
            "'{\"ipsets\":{\"ipset:a\":[' + ','.join('\"10.0.%d.%d\"' % (i >> 7, i % 128 * 2) for i in range(30_000))"
            " + '],\"ipset:b\":[' + ','.join(['\"ipset:a\"'] * 300_000) + ']},\"acls\":[]}'",
            'ipsets["ipset:b"]: too many ranges (line 1, column',
        ),
        (
            "'{\"postures\":{' + ','.join('\"posture:%d\":[]' % i for i in range(200_000)) + '},\"acls\":['"
            ' + \',\'.join(\'{"action":"accept","src":["*"],"dst":["*:1"],"srcPosture":["posture:%d"]}\' % i'
            " for i in range(200_000)) + ']}'",
            "read 200000",
        ),
        (
            '\'{"postures":{"posture:a":[]},"defaultSrcPosture":[\' + \',\'.join([\'"posture:a"\'] * 257)'
            " + '],\"acls\":[]}'",
            "defaultSrcPosture names more than 256 postures (line 1, column 50;",
        ),
    ],
)
def test_a_text_that_is_too_much_is_refused_or_read_within_bounds(text: str, expected: str) -> None:
    assert expected in outcome(text)


FAULTS = [
    ({"groups": {"group:a": ["group:b"], "group:b": ["group:a"]}}, "group members cannot be recursive (line 1,"),
    ({"groups": {"group:a": ["group:a"]}}, "(line 1,"),
    *(
        ({"acls": [{"action": "accept", "src": ["*"], "dst": [f"*:{ports}"]}]}, "port range")
        for ports in ("65536", "99999999999999999999", "-1", "2-1", "1-2-3", "0x10", "1e3", "22,", "", "٢٢")
    ),
    *(
        ({"acls": [{"action": "accept", "src": [name], "dst": ["*:*"]}]}, "(line 1,")
        for name in ("10.0.0.0/33", "256.0.0.1", "::/129", "10.0.0.0/-1", "10.0.0.0/", "\x00", "")
    ),
]
DUPLICATES = ['{"acls":[],"acls":[]}', '{"groups":{"group:a":[],"group:a":[]},"acls":[]}', '{"acls":[],"ACLS":[]}']


@pytest.mark.parametrize(("sections", "expected"), FAULTS)
def test_what_makes_no_sense_is_refused_with_its_place(sections: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Policy.parse(json.dumps(sections))
    assert expected in refusal.value.message
    assert ", column " in refusal.value.message


@pytest.mark.parametrize("text", DUPLICATES)
def test_a_key_stands_once(text: str) -> None:
    with pytest.raises(ValidationError, match=r"\(line 1, column \d+"):
        Policy.parse(text)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 18, 200])
def test_a_key_stands_once_among_any_number(count: int) -> None:
    names = [f"group:g{number}" for number in range(count)]
    Policy.parse(f'{{"groups": {{{", ".join(f"{json.dumps(name)}: []" for name in names)}}}, "acls": []}}')
    for again in {names[0], names[count // 2], names[-1]}:
        groups = ", ".join(f"{json.dumps(name)}: []" for name in (*names, again))
        with pytest.raises(ValidationError, match=r"occurs twice.*\(line 1, column \d+"):
            Policy.parse(f'{{"groups": {{{groups}}}, "acls": []}}')


NAMED = """
import json, resource
from ghostwire.policy import Engine, Policy, UserFacts, compile, directory
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
count = 50_000
users = [UserFacts(id=i, name=f"u{i}") for i in range(count)]
rules = [{"action": "accept", "src": [f"{name}{i}@" for i in range(count)], "dst": ["*:1"]} for name in "vw"]
before, after = (Policy.parse(json.dumps({"acls": acls})) for acls in (rules[:1], rules))
engine = Engine.build(before, users, [])
engine.set_users([*users, UserFacts(id=count, name="v1")])
engine.edit(after)
nodes = {f"n{i}": {"id": i, "user": f"u{i}@", "ipv4": f"10.0.{i >> 8}.{i & 255}"} for i in range(count)}
compile(before, directory([{"id": i, "name": f"u{i}"} for i in range(count)], nodes))
print(engine.bindings)
"""
"""Binds 50,000 names among as many users, again when one comes, and when a rule brings as many new ones: 20 s of CPU
are far more than that takes, and far less than comparing each with each."""


def test_as_many_names_as_users_are_bound_within_bounds() -> None:
    done = subprocess.run([sys.executable, "-c", NAMED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "{'v1@': 50000}\n"), done.stderr[-500:]


LINTED = """
import json, resource
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
count = 60_000
rules = [{"action": "accept", "src": [f"v{i}@"], "dst": ["tag:idle:1"]} for i in range(count)]
logins = [{"action": "accept", "src": [f"v{i}@", f"u{i}@"], "dst": ["tag:db"], "users": ["root"]} for i in range(count)]
tests = [{"src": "u1@", "dst": ["tag:db"], "accept": ["root"], "deny": ["ann"]}]
sections = {"tagOwners": {"tag:idle": [], "tag:db": []}, "acls": rules, "ssh": logins, "sshTests": tests}
users = [UserFacts(id=i, name=f"u{i}") for i in range(count)]
addresses = (f"100.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(count))
nodes = [NodeFacts(id=i, user=i, addresses=(address,)) for i, address in enumerate(addresses)]
database = NodeFacts(id=count, tags=("tag:db",), addresses=("100.120.0.1",))
engine = Engine.build(Policy.parse(json.dumps(sections)), users, [*nodes, database])
engine.check()
print(len(engine.lint()))
"""
"""Lints as many rules that concern nobody as there are nodes, and judges as many logins: 20 s of CPU are far more than
that takes, and far less than looking at each node for each name."""


def test_rules_that_concern_nobody_are_found_within_bounds() -> None:
    done = subprocess.run([sys.executable, "-c", LINTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "60000\n"), done.stderr[-500:]


POSTURED = """
import json, resource
from ghostwire.policy import Engine, NodeFacts, Policy
postures = {f"posture:p{i}": [f"node:version == '{i}'"] for i in range(400)}
rules = [{"src": ["*"], "dst": ["*"], "ip": ["1"], "srcPosture": [name]} for name in postures]
nodes = [NodeFacts(id=i, addresses=(f"100.64.{i >> 8}.{i & 255}",)) for i in range(20_000)]
engine = Engine.build(Policy.parse(json.dumps({"postures": postures, "grants": rules})), [], nodes)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (160 << 20)
resource.setrlimit(resource.RLIMIT_AS, (size, size))
print([remark.kind for remark in engine.lint()].count("idle"))
"""
"""Asks 20,000 nodes about 400 postures that none of them holds, with 160 MiB to spare: half of what all of it takes."""


def test_no_more_answers_about_postures_are_kept_than_the_bound() -> None:
    done = subprocess.run([sys.executable, "-c", POSTURED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "400\n"), done.stderr[-500:]


PACKED = """
import json, resource
from ghostwire.policy import Engine, Policy
from ghostwire.policy.prefixes import MANY
sources, targets = ([f"10.{net}.{i >> 7}.{i % 128 * 2}" for i in range(5_000)] for net in (1, 2))
rule = {"action": "accept", "src": sources, "dst": [f"{target}:80" for target in targets]}
engine = Engine.build(Policy.parse(json.dumps({"acls": [rule]})), [], [])
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (size, size))
ports = [port for port in (80, 81) for _ in range(MANY)]
print(*sorted({(port, engine.decide_address("10.1.0.2", "10.2.0.4", 6, port)) for port in ports}))
"""
"""Asks so often about one rule of 25 million pairs of prefixes that it would be packed, with 256 MiB to spare."""


def test_rules_between_too_many_prefixes_are_not_packed() -> None:
    done = subprocess.run([sys.executable, "-c", PACKED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "(80, True) (81, False)\n"), done.stderr[-500:]


SEEN = """
import json, resource
from ghostwire.policy import Engine, Policy
from ghostwire.policy.prefixes import MANY
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
sources, targets = ([f"10.{net + (i >> 15)}.{i >> 7 & 255}.{i % 128 * 2}" for i in range(100_000)] for net in (0, 4))
rule = {"src": sources, "dst": targets, "app": {"example.com/cap/see": [{}]}}
engine = Engine.build(Policy.parse(json.dumps({"grants": [rule]})), [], [])
print({engine.decide_address("10.0.0.2", "10.4.0.4", 6, 80) for _ in range(MANY + 1)})
"""
"""Packs a grant of an application alone between as many prefixes: 20 s of CPU are far more than reading it takes, and
far less than looking at each pair."""


def test_rules_that_open_no_port_are_not_packed() -> None:
    done = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "{False}\n"), done.stderr[-500:]


def test_sets_of_both_families_are_packed_once() -> None:
    prefixes = [text for i in range(600) for text in (f"10.1.{i >> 7}.{i % 128 * 2}", f"fd00::{i * 2:x}")]
    sections = {
        "ipsets": {"ipset:both": prefixes},
        "grants": [{"src": ["ipset:both"], "dst": ["ipset:both"], "ip": ["tcp:80"]}],
    }
    engine = Engine.build(Policy.parse(json.dumps(sections)), [], [])
    boxes = engine._core.boxes()
    assert boxes is not None, "720,000 boxes are not too many"
    assert [memoryview(words).nbytes for words in boxes[:2]] == [600 * 600 * 8 * 4] * 2


def test_tags_that_own_each_other_give_nobody_anything() -> None:
    """A ring of owners is legal in the original; whoever is asked for stands outside."""
    count = 2_000
    owners = {f"tag:t{i}": [f"tag:t{(i + 1) % count}"] for i in range(count)}
    policy = Policy.parse(json.dumps({"tagOwners": owners, "acls": []}))
    engine = Engine.build(policy, [UserFacts(id=1, name="ann", email="ann@example.com")], [])
    assert not engine.owns_tag(1, "tag:t0")


def test_the_policy_in_force_stays_whatever_is_refused() -> None:
    net = SimNet(seed=1)
    laptop = net.join("laptop", net.key("alice"))
    web = net.join("web", net.key(None, tags=("tag:web",)))
    fine = {"tagOwners": {"tag:web": []}, "acls": [{"action": "accept", "src": ["alice@"], "dst": ["tag:web:80"]}]}
    net.ask(ApplyPolicy, text=json.dumps(fine), author="test")
    held = laptop.netmap.digest
    texts = ["", " ", "[" * MIB, "\ud800", "{", *DUPLICATES, *(json.dumps(sections) for sections, _ in FAULTS)]
    for text in [*texts, " " * (64 * MIB + 1), "é" * (33 * MIB)]:
        with pytest.raises(ValidationError):
            net.ask(ApplyPolicy, text=text, author="test", force=True)
        assert laptop.netmap.digest == held
    assert net.coordinator.view.policy_versions()[-1].number == 1
    assert laptop.netmap.peers.keys() == {web.id}
    check_all(net)
