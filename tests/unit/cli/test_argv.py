import subprocess
import sys
from pathlib import Path

import pytest

from ghostwire.cli.argv import secret_spans

SECRET = "gw-very-secret-value"


@pytest.mark.parametrize(
    ("words", "hidden"),
    [
        (["up", "--key", SECRET], [SECRET]),
        (["up", f"--key={SECRET}"], [SECRET]),
        (["node", "list", "--token", SECRET, "--json"], [SECRET]),
        (["up", "--key", SECRET, f"--token={SECRET}x"], [SECRET, SECRET + "x"]),
        (["up", "--key"], []),
        (["up", "--key="], []),
        (["up", "--key-file", "f", "--keyring", "x"], []),
        (["run", "--", "--key", "x"], []),
        ([], []),
    ],
)
def test_spans(words: list[str], hidden: list[str]) -> None:
    line = b"".join(word.encode() + b"\0" for word in ["ghostwire", *words])
    assert [line[start:end].decode() for start, end in secret_spans(line)] == hidden


@pytest.mark.parametrize("how", [["--key", SECRET], [f"--key={SECRET}"], ["--token", SECRET]])
def test_secrets_leave_the_process_list(how: list[str]) -> None:
    code = (
        "import sys; from pathlib import Path; from ghostwire.cli.argv import erase_secrets; erase_secrets();"
        "print(Path('/proc/self/cmdline').read_bytes().replace(b'\\0', b' ').decode()); print(sys.argv[-1])"
    )
    done = subprocess.run([sys.executable, "-c", code, "up", *how], capture_output=True, text=True, check=True)
    shown, kept = done.stdout.splitlines()
    assert SECRET not in shown
    assert "*" * len(SECRET) in shown
    assert SECRET in kept


def test_other_command_lines_are_left_alone() -> None:
    code = (
        "from pathlib import Path; before = Path('/proc/self/cmdline').read_bytes();"
        "from ghostwire.cli.argv import erase_secrets; erase_secrets();"
        "assert Path('/proc/self/cmdline').read_bytes() == before"
    )
    subprocess.run([sys.executable, "-c", code, "key", "create", "--user", "alice"], check=True)
    assert Path("/proc/self/cmdline").exists()
