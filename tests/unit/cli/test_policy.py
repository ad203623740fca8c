import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from ghostwire.cli import run

CASE = {
    "test_id": "one",
    "input": {
        "policy": '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}',
        "tailnet": {"name": "example.com", "domains": ["example.com"], "dns": {}, "settings": {}},
        "users": [{"id": 1, "name": "a", "email": "a@example.com", "role": "owner"}],
        "nodes": {
            name: {
                "id": number, "user": "a@example.com", "tags": [], "ipv4": f"100.64.0.{number}",
                "ipv6": f"fd7a:115c:a1e0::{number}", "routable_ips": [], "approved_routes": [],
            }
            for number, name in enumerate(("x", "y"), 1)
        },
    },
}  # fmt: skip
REFUSED = CASE | {"test_id": "two", "input": CASE["input"] | {"policy": "{ nonsense"}}  # type: ignore[operator]


@pytest.mark.parametrize("packed", [False, True])
def test_replay_answers_each_case(tmp_path: Path, packed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    text = json.dumps(CASE) + "\n\n" + json.dumps(REFUSED) + "\n"
    file = tmp_path / ("cases.jsonl.xz" if packed else "cases.jsonl")
    file.write_bytes(lzma.compress(text.encode()) if packed else text.encode())
    out = tmp_path / "results.jsonl"
    assert run(["policy", "replay", str(file), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"cases": 2, "out": str(out)}
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert (first["test_id"], first["accepted"], sorted(first["nodes"])) == ("one", True, ["x", "y"])
    assert (second["test_id"], second["accepted"]) == ("two", False)
    assert run(["policy", "replay", str(file)]) == 0
    output = capsys.readouterr()
    assert output.out == out.read_text()
    assert output.err == "2 cases answered\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cases.jsonl", b"{\n"),
        ("cases.jsonl", b"\xff\n"),
        ("cases.jsonl.xz", b"no xz"),
        ("cases.jsonl.xz", lzma.compress(b"{}" * 1000)[:-8]),
    ],
)
def test_replay_refuses_what_is_no_recording(
    tmp_path: Path, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert run(["policy", "replay", str(file), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_check_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.hujson"
    file.write_text('{ "acls": [], } // nothing goes')
    assert run(["policy", "check", str(file)]) == 0
    assert "ghostwire policy apply" in capsys.readouterr().out
    file.write_text("{ }")
    assert run(["policy", "check", str(file)]) == 1
    assert "--allow-all" in capsys.readouterr().err
    assert run(["policy", "check", str(file), "--allow-all"]) == 0
    file.write_bytes(b"\xff")
    assert run(["policy", "check", str(file)]) == 1
    assert "UTF-8" in capsys.readouterr().err
    for content, said in (
        ('{\n "é": 1, "é": 2}', ':2:10: key "é" occurs twice (expected each key once)'),
        ('{"acls": ["/*"', ":1:15: the text ends too early"),
        (b'{\n "\xc3\xa9\xff"}', ":2:4: a policy is UTF-8 text (invalid start byte)."),
    ):
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert run(["policy", "check", str(file)]) == 1
        assert capsys.readouterr().err.startswith(f"error: {file}{said}")
    assert run(["policy", "check", str(tmp_path / "none")]) == 2


def test_a_policy_may_come_from_standard_input() -> None:
    command = [sys.executable, "-m", "ghostwire.cli", "policy", "check", "-", "--json"]
    done = subprocess.run(command, input='{"acls": []}', capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["valid"]) == (0, True)
    done = subprocess.run(command, input="{", capture_output=True, text=True)
    assert json.loads(done.stderr)["message"].startswith("<stdin>:1:2: ")
