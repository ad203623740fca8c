"""A server in a process of its own: `python -m bench.load.serving KIND DIR USERS SYNC_MS`.

KIND `ghostwire` serves a network in which each of USERS users has a reusable pre-auth key; `raw` answers each WebSocket
message with a fixed one, over nothing but uvloop: the least that such a server can cost. It prints one line of JSON
and serves until its standard input closes; to each line that it reads there it answers with one of JSON: what it has
committed so far. SYNC_MS is added to each sync of the disk; those are counted then, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
from pathlib import Path

import uvloop

from ghostwire.coordinator.commands import CreatePreauthKey
from ghostwire.coordinator.settings import Settings
from ghostwire.server import Limits, ServeOptions, Server
from ghostwire.testing.crash.latency import SlowDisk, slow_disk
from ghostwire.testing.load.bare import Bare

LIMITS = Limits(handshakes=5000, handshakes_per_address=5000, unproved_s=600.0)


async def raw() -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def ghostwire(directory: Path, users: int, disk: SlowDisk | None) -> None:
    options = ServeOptions(data=directory, settings=Settings(), listen="127.0.0.1:0", tls_off=True, limits=LIMITS)
    async with Server(options, vfs=disk and disk.vfs) as server:
        keys = []
        for number in range(users):
            made = await server.driver.ask(
                lambda op, number=number: CreatePreauthKey(op=op, actor="bench", user=f"user-{number}", uses=None)
            )
            keys.append(made.secret)
        gc.collect()
        gc.freeze()
        print(json.dumps({"port": server.port, "keys": keys}), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps({"syncs": disk and disk.syncs, **server.store.durable.stats}), flush=True)


def main(kind: str, directory: str, users: int, sync_ms: float) -> None:
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(slow_disk(sync_ms / 1000)) if sync_ms else None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(raw() if kind == "raw" else ghostwire(Path(directory), users, disk))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
