"""The policy's verbs against a real coordinator with nodes: compare, test, try for a while, go back, explain."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli import run
from ghostwire.cli.admin import Admin
from ghostwire.testing.processes import Child
from tests.integration.node_client import NodeClient, credentials
from tests.reference import policy_score

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
Ask = Callable[..., Any]
TAGS = '"groups": {"group:dev": ["alice@"]}, "tagOwners": {"tag:web": []}'
WEB = f"""{{
  {TAGS}, // who is who
  "acls": [
    {{"action": "accept", "src": ["group:dev"], "dst": ["tag:web:80,443"]}},
  ],
}}"""
CLOSED = f'{{{TAGS}, "acls": []}}'


class World:
    """A coordinator's folder, and the process over it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "server"
        self.log = folder / "log"
        self.child = self.start()

    def start(self) -> Child:
        child = Child.start(["serve", "--data", str(self.data), "--listen", "127.0.0.1:0"], self.log)
        with Admin.local(self.data) as admin:
            child.until("ready", lambda: admin.get("/v1/status")["ready"], PATIENCE_S)
        return child

    def restart(self) -> None:
        assert self.child.stop() == 0, self.child.tail()
        self.child = self.start()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        made = World(Path(folder))
        try:
            join(made)
            yield made
        finally:
            made.child.stop()


def join(world: World) -> None:
    """Alice's laptop, Bob's phone, a web server."""
    with Admin.local(world.data) as admin:
        status = admin.get("/v1/status")
        admin.put("/v1/policy", {"text": CLOSED})
        wanted: list[tuple[str, dict[str, Any]]] = [
            ("laptop", {"user": "alice"}), ("phone", {"user": "bob"}), ("web", {"tags": ["tag:web"]}),
        ]  # fmt: skip
        for name, body in wanted:
            key = admin.post("/v1/preauth-keys", body)["key"]

            async def register(name: str = name, key: str = key) -> None:
                async with NodeClient(status["url"], credentials(name, key), pin=status["pin"]) as node:
                    await node.joined()

            asyncio.run(register())


@pytest.fixture
def ask(world: World, capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*words: str, fails: int = 0) -> Any:
        code = run(["policy", *words, "--data", str(world.data), "--json"])
        output = capsys.readouterr()
        assert code == fails, output
        return json.loads(output.err if code else output.out)

    return ask


@pytest.fixture
def told(world: World, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def told(*words: str) -> str:
        assert run(["policy", *words, "--data", str(world.data)]) == 0
        return capsys.readouterr().out

    return told


@pytest.fixture
def file(tmp_path: Path, ask: Ask) -> Callable[[str], str]:
    """A policy file. Each test begins with everything closed."""
    closed = tmp_path / "closed.hujson"
    closed.write_text(CLOSED)
    ask("apply", str(closed), "--replace", "--force")

    def file(text: str) -> str:
        path = tmp_path / "policy.hujson"
        path.write_text(text)
        return str(path)

    return file


def test_diff_lists_what_a_file_would_change(ask: Ask, told: Callable[..., str], file: Callable[[str], str]) -> None:
    found = ask("diff", file(WEB))
    assert (found["gained_edges"], found["lost_edges"], found["touched"]) == (1, 0, ["laptop", "web"])
    (edges,) = found["gained"]
    assert (edges["sources"], edges["targets"], edges["pairs"]) == (["laptop"], ["web"], "all")
    assert "tcp,udp 80,443" in edges["access"]
    assert "+ laptop -> web: " in told("diff", file(WEB))
    number = ask("apply", file(WEB))["number"]
    assert ask("diff", str(number)) == found
    back = ask("diff", str(number), str(number - 1))
    assert (back["gained_edges"], back["lost_edges"]) == (0, 1)
    assert ask("diff", file(CLOSED))["lost"] == found["gained"]
    assert ask("diff", file(CLOSED), "0")["lost_edges"] == 0
    assert ask("diff", str(10**6), fails=1)["code"] == "not_found"
    assert ask("diff", "no-such-file", fails=2)["code"] == "usage"
    assert ask("diff", file('{"acls": [1]}'), fails=1)["code"] == "validation"


def test_history_keeps_every_version(ask: Ask, told: Callable[..., str], file: Callable[[str], str]) -> None:
    first = ask("apply", file(WEB), "--note", "opens the web")
    ask("rollback", "--note", "not yet")
    newest, before, *_ = ask("history")
    assert (newest["number"], newest["origin"], newest["restores"]) == (
        first["number"] + 1,
        "rollback",
        first["number"] - 1,
    )
    assert (newest["in_force"], before["in_force"]) == (True, False)
    assert (before["author"].startswith("admin:unix:"), before["note"]) == (True, "opens the web")
    assert "text" not in before
    assert ask("show", "--version", str(first["number"]))["text"] == WEB
    assert told("show", "--version", str(first["number"])).rstrip() == WEB
    assert ask("show", "--version", "0")["text"] is None
    assert "not yet" in told("history")
    assert ask("rollback", str(first["number"]))["text"] == WEB
    assert ask("rollback", str(10**6), fails=1)["code"] == "not_found"


def test_tests_run_over_the_live_directory(ask: Ask, file: Callable[[str], str]) -> None:
    holds = WEB[:-1] + '"tests": [{"src": "alice@", "accept": ["tag:web:443"], "deny": ["tag:web:22"]}]}'
    fails = WEB[:-1] + '"tests": [{"src": "bob@", "accept": ["tag:web:443"]}]}'
    assert ask("test", file(holds)) == {"passed": True, "failure": None}
    failed = ask("test", file(fails), fails=1)["message"]
    assert failed.startswith(f"{file(fails)}:6:38: ")
    assert "bob@" in failed
    refused = ask("apply", file(fails), fails=1)
    assert refused["message"].startswith(f"{file(fails)}:6:38: the policy's own tests: ")
    assert (refused["code"], "--force" in refused["message"]) == ("validation", True)
    assert ask("apply", file(fails), "--force")["forced"]
    assert ask("test", fails=1)["code"] == "validation"


@pytest.mark.parametrize("verb", ["check", "apply", "diff", "test", "lint"])
def test_faults_of_a_file_begin_with_their_place(
    verb: str, file: Callable[[str], str], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    where = () if verb == "check" else ("--data", str(world.data))
    for text, said in (
        ('{\n  "aclz": []\n}', ':2:3: unknown field "aclz" (did you mean "acls"?)'),
        ('{\n "acls": [],\n "acls": []\n}', ':3:2: key "acls" occurs twice (expected each key once)'),
    ):
        assert run(["policy", verb, file(text), *where]) == 1
        assert capsys.readouterr().err == f"error: {file(text)}{said}\n"


def test_confirmed_it_stays(ask: Ask, told: Callable[..., str], file: Callable[[str], str]) -> None:
    applied = ask("apply", file(WEB), "--confirm-within", "5m")
    assert applied["waits_until"] is not None
    assert "waits" in told("history")
    assert "--replace" in ask("apply", file(WEB), fails=1)["message"]
    kept = ask("confirm")
    assert (kept["number"], kept["waits_until"]) == (applied["number"], None)
    assert ask("confirm", fails=1)["code"] == "conflict"
    assert "--force" in ask("apply", file(CLOSED), "--confirm-within", "5m", fails=1)["message"]


def test_one_connection_cannot_confirm_what_it_applied(world: World, ask: Ask, file: Callable[[str], str]) -> None:
    with Admin.local(world.data) as admin:
        admin.put("/v1/policy", {"text": WEB, "confirm_within_s": 300})
        with pytest.raises(Exception, match="older than the version"):
            admin.post("/v1/policy/confirm", {})
    ask("confirm")


@pytest.mark.parametrize("restart", [False, True])
def test_unconfirmed_it_goes_back(world: World, ask: Ask, file: Callable[[str], str], restart: bool) -> None:
    applied = ask("apply", file(WEB), "--confirm-within", "2s")
    if restart:
        world.restart()
    world.child.until("gone back", lambda: ask("show")["origin"] == "revert", PATIENCE_S)
    shown = ask("show")
    assert (shown["text"], shown["number"], shown["author"]) == (CLOSED, applied["number"] + 1, "coordinator")
    assert ask("confirm", fails=1)["code"] == "conflict"


def test_a_shell_over_the_mesh_is_not_cut(
    world: World, ask: Ask, file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Admin.local(world.data) as admin:
        laptop, web = (admin.get(f"/v1/nodes/{name}")["ipv4"] for name in ("laptop", "web"))
    ask("apply", file(WEB))
    monkeypatch.setenv("SSH_CONNECTION", f"{laptop} 50000 {web} 443")
    refused = ask("apply", file(CLOSED), fails=1)
    assert (refused["code"], "laptop" in refused["message"], "tcp port 443" in refused["message"]) == (
        "conflict",
        True,
        True,
    )
    assert ask("apply", file(CLOSED), "--force")["forced"]


def test_explain_joins_what_is_known(ask: Ask, told: Callable[..., str], file: Callable[[str], str]) -> None:
    ask("apply", file(WEB))
    found = ask("explain", "laptop", "web", "--port", "443")
    assert (found["source"]["user"], found["source"]["groups"], found["target"]["tags"]) == (
        "alice",
        ["group:dev"],
        ["tag:web"],
    )
    there, back = found["there"], found["back"]
    assert (there["allowed"], back["allowed"]) == (True, False)
    assert [(rule["section"], rule["line"]) for rule in there["rules"]] == [("acls", 4)]
    assert there["rules"][0]["text"].startswith('{"action": "accept"')
    denied = ask("explain", "laptop", "web", "--port", "22")["there"]
    assert (denied["allowed"], denied["rules"][0]["line"]) == (False, 4)
    assert denied["rules"][0]["missing"] == ["tcp 22 is not among its ports (tag:web:80,443)"]
    assert any("tcp,udp 80,443" in access for access in denied["access"])
    (nearest,) = ask("explain", "phone", "web", "--port", "80")["there"]["rules"]
    assert nearest["missing"] == ["phone is none of its sources (group:dev)"]
    text = told("explain", "laptop", "web", "--port", "22")
    assert "denied" in text
    assert "acls[0], line 4" in text
    assert "missing: tcp 22" in text
    assert ask("explain", "laptop", "nobody", fails=1)["code"] == "not_found"
    assert ask("explain", "laptop", "192.0.2.1", fails=1)["code"] == "not_found"
    address = found["target"]["addresses"][0]
    assert ask("explain", "laptop", address, "--port", "443") == found


TIMES = f"""{{
  {TAGS},
  "acls": [{{"action": "accept", "src": ["bob@"], "dst": ["tag:web:*"]}}],
  "ghostwire": {{
    "schedules": {{"office": {{"days": ["mon-fri"], "hours": ["09:00-17:00"], "zone": "Europe/Berlin"}}}},
    "groups": {{"group:oncall": [{{"member": "alice@", "expires": "2031-01-01T00:00:00Z"}}]}},
    "grants": [
      {{"src": ["group:oncall"], "dst": ["tag:web"], "ip": ["tcp:22"], "schedule": "office"}},
    ],
    "deny": [
      {{"src": ["bob@"], "dst": ["tag:web"], "ip": ["tcp:22"], "expires": "2031-01-01T00:00:00Z"}},
    ],
  }},
}}"""


def test_explain_at_another_time(ask: Ask, told: Callable[..., str], file: Callable[[str], str]) -> None:
    """What a schedule, an end and a denial do to an answer, at the time that is asked about."""
    ask("apply", file(TIMES))
    words = ("explain", "laptop", "web", "--port", "22", "--at")
    at_work = ask(*words, "2030-01-02T09:00")  # a Wednesday, ten o'clock in Berlin
    assert (at_work["at"], at_work["there"]["allowed"]) == ("2030-01-02T09:00:00Z", True)
    (rule,) = at_work["there"]["rules"]
    assert (rule["section"], rule["line"], rule["denies"]) == ("ghostwire.grants", 8, False)
    own, membership = sorted(rule["windows"], key=lambda window: window["of"])
    assert (own["schedule"], own["open"], own["turns"]) == ("office", True, "2030-01-02T16:00:00Z")
    assert (membership["of"], membership["expires"]) == ("group:oncall", "2031-01-01T00:00:00Z")
    assert at_work["source"]["at_times"] == ["group:oncall"]

    (closed,) = ask(*words, "2030-01-02T16:00Z")["there"]["rules"]
    assert closed["missing"] == ["the rule does not hold now (schedule 'office', opens 2030-01-03T08:00:00Z)"]
    assert not ask(*words, "2030-01-05T09:00")["there"]["allowed"]  # a Saturday
    assert not ask(*words, "2031-01-01T09:00")["there"]["allowed"]  # no longer on call
    assert "window office: closed, opens 2030-01-03T08:00:00Z" in told(*words, "2030-01-02T17:00:00+01:00")

    denied = ask("explain", "phone", "web", "--port", "22", "--at", "2030-01-02T09:00")["there"]
    assert (denied["allowed"], [rule["denies"] for rule in denied["rules"]]) == (False, [True, False])
    assert (denied["rules"][0]["section"], denied["rules"][0]["line"]) == ("ghostwire.deny", 11)
    assert denied["rules"][1]["missing"] == ["a denial overrules it"]
    assert ask("explain", "phone", "web", "--port", "22", "--at", "2031-01-01")["there"]["allowed"]
    assert "denied by ghostwire.deny[0], line 11" in told("explain", "phone", "web", "--port", "22")
    assert ask(*words, "yesterday", fails=2)["code"] == "usage"
    assert ask(*words, "2500-01-01", fails=1)["code"] == "validation"


def test_cases_are_answered_over_rest_as_by_the_verb(world: World, tmp_path: Path) -> None:
    recorded, out = Path("tests/data/captures/policytest.jsonl.xz").resolve(), tmp_path / "out.jsonl"
    assert run(["policy", "replay", str(recorded), "--out", str(out)]) == 0
    with Admin.local(world.data) as admin:
        results = admin.post("/v1/policy/replay", {"cases": list(policy_score.cases(recorded))})["results"]
    assert results == [json.loads(line) for line in out.read_text().splitlines()]


def test_lint_remarks(ask: Ask, told: Callable[..., str], file: Callable[[str], str]) -> None:
    broad = file('{"groups": {"group:x": ["alice@"]}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}')
    assert {remark["kind"] for remark in ask("lint", broad)} >= {"broad", "unused"}
    assert "group:x" in told("lint", broad)
    assert f"{broad}:1:46 " in told("lint", broad)
    ask("apply", file(WEB))
    assert ask("lint") == []
