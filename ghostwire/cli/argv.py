"""Erasing secrets from this process's own command line, where other users of the machine could read them."""

from __future__ import annotations

import sys
from pathlib import Path

SECRET_OPTIONS = (b"--key", b"--token")


def secret_spans(line: bytes) -> list[tuple[int, int]]:
    """Where in a NUL-separated command line the values of secret options lie, as (start, end)."""
    spans = []
    start = 0
    value_next = False
    for word in line.split(b"\0"):
        end = start + len(word)
        name, equals, _ = word.partition(b"=")
        if word == b"--":
            break
        if value_next:
            spans.append((start, end))
            value_next = False
        elif name in SECRET_OPTIONS:
            if equals:
                spans.append((start + len(name) + 1, end))
            else:
                value_next = True
        start = end + 1
    return [span for span in spans if span[0] < span[1]]


def erase_secrets() -> None:
    """Overwrite the values of `--key` and `--token` in the memory that /proc/PID/cmdline shows.

    `sys.argv` keeps them. Where the system offers no /proc there is nothing to erase by this way, and nothing is done.
    """
    if not any(word.startswith(("--key", "--token")) for word in sys.argv[1:]):
        return
    stat, memory = Path("/proc/self/stat"), Path("/proc/self/mem")
    if not stat.exists():
        return
    # The command may hold spaces and parentheses; fields are counted from the last ')'. arg_start is field 48.
    fields = stat.read_bytes().rpartition(b")")[2].split()
    arg_start = int(fields[48 - 3])
    with memory.open("r+b", buffering=0) as process:
        for start, end in secret_spans(Path("/proc/self/cmdline").read_bytes()):
            process.seek(arg_start + start)
            process.write(b"*" * (end - start))
