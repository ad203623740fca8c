import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ghostwire import __version__, errors
from ghostwire.cli import run
from ghostwire.cli.frame import ghostwire
from ghostwire.cli.outcome import Exit, carry_out, exit_code
from ghostwire.cli.verbs import VERBS
from ghostwire.errors import GhostwireError

HEAVY = ("litestar", "numpy", "uvicorn", "uvloop", "rich", "apsw", "structlog", "yaml", "cryptography", "asyncio")


ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
TYPED = re.compile(r"(?:^(?:\$ )?(?:uv run )?|`)ghostwire (?!zqlite )([a-z][^`\n#]*)", re.MULTILINE)
"""Command lines; what signatures of the store are about begins with the product's name, too."""


def commands() -> list[tuple[str, click.Command]]:
    return [
        found for name, (module, _) in VERBS.items() for found in below(name, importlib.import_module(module).command)
    ]


def below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for sub, inner in command.commands.items():
            yield from below(f"{name} {sub}", inner)


def leaves() -> list[tuple[str, click.Command]]:
    return [(name, command) for name, command in commands() if not isinstance(command, click.Group)]


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_verb_explains_itself(name: str, command: click.Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: ghostwire {name}" in text
    if not isinstance(command, click.Group):
        assert "Example" in text
        assert f"ghostwire {name.split()[0]}" in text
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_list_of_verbs_says_whole_sentences(
    name: str, command: click.Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*name.split(), "--help"]) == 0
    _, _, listed = capsys.readouterr().out.partition("Commands:")
    assert "..." not in listed


@pytest.mark.parametrize(("name", "command"), leaves(), ids=[name for name, _ in leaves()])
def test_every_verb_has_json(name: str, command: click.Command) -> None:
    assert any("--json" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_what_a_document_says_to_type_exists(document: Path) -> None:
    known = dict(commands())
    for line in TYPED.findall((ROOT / document).read_text()):
        words = line.split(" -- ")[0].split()
        name = next((name for size in (3, 2, 1) if (name := " ".join(words[:size])) in known), None)
        assert name, line
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)\[?(--[a-z0-9-]+)", " ".join(words))) <= options | {"--help"}, line


@pytest.mark.parametrize("name", VERBS)
def test_the_table_says_what_the_verb_says(name: str) -> None:
    module, text = VERBS[name]
    command = importlib.import_module(module).command
    assert command.name == name
    assert (command.help or "").startswith(text.rstrip("."))


def loaded_by(*arguments: str) -> set[str]:
    code = (
        "import sys; from ghostwire.cli import run; code = run(sys.argv[1:]);"
        "print('\\n'.join(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    return set(done.stderr.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("status", "--data", "/nonexistent"),
        ("status", "--help"),
        ("node", "list", "--data", "/nonexistent"),
        ("key", "create", "--user", "a", "--data", "/nonexistent"),
        ("server", "status", "--data", "/nonexistent"),
        ("up", "--help"),
        ("serve", "--help"),
    ],
)
def test_a_verb_loads_nothing_heavy_and_no_other_verb(arguments: tuple[str, ...]) -> None:
    modules = loaded_by(*arguments)
    assert "ghostwire.cli.frame" in modules
    assert [name for name in HEAVY if name in modules] == []
    others = {module for name, (module, _) in VERBS.items() if name != arguments[0]}
    # `status` without an agent shows the coordinator, as `server status` does.
    allowed = {"ghostwire.cli.server"} if arguments[0] == "status" else set()
    assert modules & others <= allowed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ghostwire {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["stauts"], "did you mean `ghostwire status`?"),
        (["zzz"], "`ghostwire --help`"),
        (["node", "lst"], "lst"),
        (["node", "list", "--jsn"], "--jsn"),
        (["node", "rename", "a"], "NAME"),
        (["key", "create"], "--user"),
        (["key", "create", "--user", "a", "--tag", "tag:b"], "--user"),
        (["key", "create", "--user", "a", "--uses", "2", "--reusable"], "--reusable"),
        (["key", "create", "--user", "a", "--uses", "0"], "--uses"),
        (["key", "create", "--user", "a", "--expires", "soon"], "soon"),
        (["token", "create", "--scope", "root"], "root"),
        (["node", "list", "--server", "https://x"], "--token"),
        (["node", "list", "--server", "http://192.0.2.1", "--token", "t"], "in the clear"),
        (["node", "list", "--server", "ftp://x", "--token", "t"], "https://"),
        (["node", "list", "--server", "https://x", "--token", "t", "--pin", "md5:1"], "sha256:"),
        (["node", "list", "--pin", "sha256:1"], "--server"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == Exit.USAGE
    output = capsys.readouterr()
    assert output.out == ""
    assert told in output.err
    assert output.err.startswith("error: ")
    assert "Traceback" not in output.err


def test_errors_are_json_where_json_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["node", "list", "--json", "--data", str(tmp_path)]) == Exit.UNREACHABLE
    output = capsys.readouterr()
    assert output.out == ""
    error = json.loads(output.err)
    assert (error["code"], error["retryable"]) == ("unavailable", True)
    assert "ghostwire serve" in error["message"]
    assert run(["node", "lst", "--json"]) == Exit.USAGE
    assert json.loads(capsys.readouterr().err)["code"] == "usage"


def families() -> list[type[GhostwireError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GhostwireError)]


@pytest.mark.parametrize("kind", families())
@pytest.mark.parametrize("as_json", [False, True])
def test_every_error_ends_in_a_sentence_and_a_code(
    kind: type[GhostwireError], as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def failing(as_json: bool) -> None:
        raise kind("it failed: try again")

    expected = {"unavailable": 3, "authentication": 4, "permission": 4}.get(kind.code, 1)
    assert exit_code(kind("x")) == expected
    assert carry_out(failing, ["--json"] if as_json else []) == expected
    err = capsys.readouterr().err
    if as_json:
        assert json.loads(err) == {"code": kind.code, "message": "it failed: try again", "retryable": kind.retryable}
    else:
        assert err == "error: it failed: try again\n"


def test_faults_of_the_program_are_not_hidden() -> None:
    @click.command()
    def failing() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        carry_out(failing, [])


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def failing() -> None:
        raise KeyboardInterrupt

    assert carry_out(failing, []) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m ghostwire.cli config show --explain | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode in (0, 141)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_GHOSTWIRE_COMPLETE" in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize(
    ("words", "index", "expected"),
    [("ghostwire st", 1, "status"), ("ghostwire node re", 2, "rename"), ("ghostwire key create --us", 3, "--user")],
)
def test_completion_answers(words: str, index: int, expected: str) -> None:
    environment = {"_GHOSTWIRE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    done = subprocess.run(
        [sys.executable, "-m", "ghostwire.cli"], env=os.environ | environment, capture_output=True, text=True
    )
    assert f"plain,{expected}" in done.stdout.splitlines()


def test_no_colour_when_asked() -> None:
    assert ghostwire.make_context("ghostwire", ["node", "--help"], resilient_parsing=True).color is None
