"""The command line: one file a verb, loaded when it is called.

Conventions, for every verb:

- `ghostwire/cli/VERB.py` holds one click command (or group) named `command`; its line in `verbs.py` is all that makes
  it known. It imports what it needs inside the function that needs it, so that `status` never loads a server.
- The options `--data`/`--state`, `--json`, `--server`, `--token`, `--pin` come from `options.py`; what a verb prints
  goes through `screen.show`: text for people, or with `--json` exactly one JSON value on stdout.
- A verb fails by raising from the tree in `ghostwire.errors`; `outcome.py` turns that into one sentence on stderr
  (with `--json` one line `{"code", "message", "retryable"}`) and the exit code: 0 done, 1 refused or failed, 2 wrong
  usage, 3 not reachable, 4 not permitted. The sentence names the next command where there is one.
- Secrets that were typed as arguments are erased from the process's own command line before anything else runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    from ghostwire.cli.frame import ghostwire
    from ghostwire.cli.outcome import carry_out

    return carry_out(ghostwire, arguments)


def main() -> None:
    """Run the command line of this process."""
    from ghostwire.cli.argv import erase_secrets

    erase_secrets()
    sys.exit(run(sys.argv[1:]))
