"""Starting an agent: folder, store, identity, tunnel, socket; then it runs."""

from __future__ import annotations

import asyncio
import os
import platform
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ghostwire import __version__
from ghostwire.agent.effects import Quit
from ghostwire.agent.io import clock
from ghostwire.agent.io.answers import Answers
from ghostwire.agent.io.connection import parse_origin
from ghostwire.agent.io.control import Control
from ghostwire.agent.io.folder import Folder
from ghostwire.agent.io.journal import Journal, logger
from ghostwire.agent.io.runner import Runner
from ghostwire.agent.io.store import LocalStore
from ghostwire.agent.io.tunnel import TunnelDriver
from ghostwire.agent.join import Join
from ghostwire.agent.machine import Machine
from ghostwire.agent.memory import Memory
from ghostwire.agent.traffic import Ledger
from ghostwire.agent.wishes import Wishes
from ghostwire.errors import ConflictError, ValidationError, WireError
from ghostwire.model.node import NodeFacts
from ghostwire.wire.keys import clamp
from ghostwire.wire.netmap import NetMap


class News(msgspec.Struct, frozen=True, kw_only=True):
    """How the node came up, or (`up` False) what it waits for: `lines` for people, the rest for scripts."""

    up: bool
    lines: tuple[str, ...]
    name: str = ""
    ipv4: str = ""
    ipv6: str = ""
    mode: str = ""
    from_cache: bool = False


Ready = Callable[[News], None]

LATE_S: Final = 20.0
"""After this a node that is not up yet says what it waits for."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What `ghostwire up` was asked. `wishes` None: as the last time. `pin` is SHA-256 of the coordinator's SPKI."""

    folder: Path
    server: str | None = None
    pin: bytes | None = None
    preauth_key: str | None = None
    wishes: Wishes | None = None

    def __repr__(self) -> str:
        return f"<Request {self.folder}>"


async def run(request: Request, ready: Ready) -> Quit:
    """Run an agent in `request.folder` until it ends.

    `ready` is told how it came up, and before that, where it takes long, what it waits for.

    Raises `ConflictError` while another agent runs there, `ValidationError` for what can't be asked, and what the
    store and the tunnel raise.
    """
    folder = Folder.take(request.folder)
    journal = Journal()
    logger().addHandler(journal)
    try:
        store = await LocalStore.open(folder.path)
        try:
            runner, operator, doors = await _prepare(request, store, journal)
        except BaseException:
            await store.close()
            raise
        return await _serve(runner, folder.path, operator, lambda news: ready(_with_doors(news, doors)))
    finally:
        logger().removeHandler(journal)
        folder.release()


async def _prepare(request: Request, store: LocalStore, journal: Journal) -> tuple[Runner, int | None, list[str]]:
    wishes = request.wishes or await store.wishes() or Wishes()
    memory = identify(await store.memory(), request)
    operator = _uid(wishes.operator) if wishes.operator else None
    try:
        netmap = await store.netmap()
    except WireError as error:
        logger().error("the map that was kept can't be read, the coordinator will send it again: %s", error.message)
        netmap = NetMap()
    tunnel = TunnelDriver.open(wishes, memory.node_private)
    try:
        lines = tunnel.serve(wishes, request.folder)
        store.keep(memory)
        store.keep_wishes(wishes)
        await store.flush()
        ledger = Ledger(await store.traffic())
    except BaseException:
        tunnel.close()
        raise
    join = Join(facts=facts(wishes), preauth_key=request.preauth_key)
    machine = Machine(memory, netmap, join, os.urandom, clock.now())
    return Runner(machine, tunnel, store, ledger, journal), operator, lines


def _with_doors(news: News, doors: list[str]) -> News:
    """The news together with where proxies and forwards listen, once the node is up."""
    return msgspec.structs.replace(news, lines=(*news.lines, *doors)) if news.up else news


async def _serve(runner: Runner, folder: Path, operator: int | None, ready: Ready) -> Quit:
    answers = Answers(runner)
    control = Control(answers.answer, runner.follow_log, operator)

    def on_ready() -> None:
        runner.on_ready = lambda: None
        late.cancel()
        ready(introduce(runner))

    def on_late() -> None:
        why = runner.machine.waiting_for or "no coordinator answers"
        ready(News(up=False, lines=(f"Not up yet: {why}. The agent goes on trying.",)))

    runner.on_ready = on_ready
    late = asyncio.get_running_loop().call_later(LATE_S, on_late)
    await control.open(folder)
    ended = Quit("internal", "the agent ended by a fault of its own")
    try:
        ended = await runner.run()
        return ended
    finally:
        late.cancel()
        answers.ended.set_result(ended)
        await control.close()


def identify(memory: Memory | None, request: Request) -> Memory:
    """Who this node is: what was kept, or a new identity for the coordinator that was named.

    Raises `ValidationError` where no coordinator is known, `ConflictError` where the folder belongs to another one.
    """
    origin = parse_origin(request.server) if request.server else None
    if memory is None or (memory.node == 0 and origin is not None):
        if origin is None:
            raise ValidationError(
                f"{request.folder} holds no identity yet: join with `ghostwire up --server URL --pin PIN --key KEY`, "
                "the line that `ghostwire key create` prints on the coordinator"
            )
        fresh = Memory(origin=origin, node_private=clamp(os.urandom(32)), machine_private=clamp(os.urandom(32)))
        return msgspec.structs.replace(memory or fresh, origin=origin, pin=request.pin or b"")
    if origin is not None and origin != memory.origin:
        raise ConflictError(
            f"{request.folder} belongs to {memory.origin}: leave there with `ghostwire logout` first, or name another "
            "folder with --state DIR"
        )
    return memory if request.pin is None else msgspec.structs.replace(memory, pin=request.pin)


def facts(wishes: Wishes) -> NodeFacts:
    """What this machine says of itself."""
    return NodeFacts(
        hostname=platform.node(),
        requested_name=wishes.hostname,
        os=f"{platform.system().lower()} {platform.release()}",
        agent_version=__version__,
    )


def introduce(runner: Runner) -> News:
    """How the node came up, for the person who started it."""
    own = runner.machine.netmap.own()
    addresses = " ".join(address for address in (own.ipv4, own.ipv6) if address)
    lines = [f"{own.name} is up: {addresses}"]
    if runner.machine.from_cache:
        lines.append("The map is the one that was kept: the coordinator has not confirmed it yet.")
    if runner.tunnel.mode == "tun":
        lines.append(f"Mode: TUN device {runner.tunnel.device}; every program of this machine reaches the mesh.")
    else:
        lines.append(
            f"Mode: userspace ({runner.tunnel.userspace_because}); programs reach the mesh through --socks5 and "
            "--forward, are reached by --expose. The system's ping does not: use `ghostwire ping`."
        )
    return News(
        up=True,
        lines=tuple(lines),
        name=own.name,
        ipv4=own.ipv4,
        ipv6=own.ipv6,
        mode=runner.tunnel.mode,
        from_cache=runner.machine.from_cache,
    )


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        if name.isdigit():
            return int(name)
        raise ValidationError(f"--operator {name}: this machine has no such user") from error


def main(request: Request, ready: Ready) -> Quit:
    """Run an agent in this thread."""
    return asyncio.run(run(request, ready))
