"""A tunnel in a process of its own: one JSON call a line on stdin, one JSON answer a line on stdout."""

from __future__ import annotations

import json
import sys

from ghostwire._native import tunnel


def main() -> None:
    opened: tunnel.Tunnel | None = None
    answer: dict[str, object]
    for line in sys.stdin:
        call = json.loads(line)
        name, arguments = call["call"], call["arguments"]
        raw = [a.encode() if name in {"open", "set_peers", "set_filter"} else a for a in arguments]
        try:
            if name == "open":
                opened = tunnel.Tunnel(raw[0])
                result: object = {"port": opened.port, "tun_name": opened.tun_name, "mode": opened.mode}
            else:
                result = getattr(opened, name)(*raw)
                if isinstance(result, bytes):
                    result = json.loads(result)
            answer = {"result": result}
        except Exception as error:  # the other process raises it again
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    if opened is not None:
        opened.close()


main()
