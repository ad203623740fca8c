"""A network over real worker processes, and what happens to it: acts, faults, and what every node must then hold.

What maps ought to be is found without the server's: from the nodes that its REST interface lists, by the slow twin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec
import websockets

from ghostwire.cli.admin import Admin
from ghostwire.errors import GhostwireError, UnavailableError
from ghostwire.model.node import Node
from ghostwire.model.user import User
from ghostwire.server.workers.stations import SOCKET
from ghostwire.wire.client_session import MapChanged
from ghostwire.wire.messages import Refusal, ServerBye
from ghostwire.wire.netmap import NetMap, Peer, Profile
from tests.integration.cutting import cut, may_cut
from tests.integration.node_client import NodeClient, credentials
from tests.integration.workers import Workers
from tests.reference.netmap import ReferenceMaps, Shown
from tests.reference.netmap_check import ends

PATIENCE_S: Final = 30.0
WINDOW_S: Final = 0.45
"""Longer than two windows in which changes are gathered: whoever is told wrongly has heard it by then."""
AGAIN_S: Final = 0.1
SHOWN_S: Final = 2.0
USERS: Final = ("alice", "bob", "carol")
OWNERS: Final[tuple[dict[str, Any], ...]] = (
    *({"user": user} for user in USERS),
    {"tags": ["tag:web"]},
    {"tags": ["tag:db"]},
    {"tags": ["tag:web", "tag:db"]},
)
POOLS: Final = ("100.64.0.0/10", "fd7a:115c:a1e0::/48")

_profile = msgspec.msgpack.Decoder(Profile)


def _policy(*rules: tuple[list[str], list[str]]) -> str:
    acls = [{"action": "accept", "src": sources, "dst": targets} for sources, targets in rules]
    owners = {"tag:web": ["alice@"], "tag:db": ["alice@"]}
    text = {"groups": {"group:dev": ["alice@", "bob@"]}, "tagOwners": owners, "acls": acls}
    return json.dumps(text)


POLICIES: Final = (
    _policy((["group:dev"], ["tag:web:80,443"]), (["tag:web"], ["tag:db:5432"])),
    _policy((["autogroup:member"], ["autogroup:self:*", "tag:web:443"])),
    _policy((["carol@"], ["alice@:22", "tag:db:*"]), (["tag:web"], ["tag:web:*"])),
    _policy((["*"], ["tag:web:*"]), (["autogroup:member"], ["autogroup:self:*"])),
    _policy((["bob@"], ["bob@:*"])),
)


class Map(NamedTuple):
    """Everything that a map says, in a form that two ways of finding it share."""

    own: Any
    peers: dict[int, Peer]
    rules: Any
    ends: dict[int, int]
    profiles: dict[int, Profile]


def held_by(netmap: NetMap) -> Map:
    return Map(
        netmap.own(),
        {peer.id: peer for peer in netmap.all_peers()},
        netmap.filter().rules,
        ends(netmap),
        {user: _profile.decode(part) for user, part in netmap.profiles.items()},
    )


class Member:
    """A machine that comes back by itself as agents do. `told` is how its map changed since the last check.

    `touched` says that something has happened since then that it may be told of.
    """

    def __init__(self, url: str, name: str, key: str) -> None:
        self.url, self.name = url, name
        self.netmap = NetMap()
        self.told: list[str] = []
        self.touched = True
        self.faults: list[str] = []
        self.id = 0
        self.away = False
        self.client: NodeClient | None = None
        self._who = credentials(name, key)
        self._living = asyncio.get_running_loop().create_task(self._live())

    @property
    def stands(self) -> bool:
        """Whether it has a session and a map."""
        return self.client is not None

    async def leave(self, *, intent: bool) -> None:
        """Close the connection, with or without a word, and stay away."""
        self.away = True
        if self.client is not None:
            if intent:
                self.client.session.bye()
                with contextlib.suppress(websockets.ConnectionClosed):
                    await self.client.flush()
            self.client.socket.transport.close()  # without waiting for a worker that may stand still

    def come_back(self, netmap: NetMap | None = None) -> None:
        """Be there again, perhaps with another map than the one that is held."""
        if netmap is not None:
            self.netmap = netmap
        self.away = False

    async def end(self) -> None:
        await self.leave(intent=False)
        self._living.cancel()
        await asyncio.wait([self._living])

    async def _live(self) -> None:
        while True:
            if not self.away:
                try:
                    await self._session()
                except (websockets.WebSocketException, OSError, TimeoutError):
                    pass  # what agents do: again, a little later
                except (GhostwireError, AssertionError) as error:
                    self.faults.append(f"{self.name}: {type(error).__name__}: {error}")
                finally:
                    self.client = None
            await asyncio.sleep(AGAIN_S)

    async def _session(self) -> None:
        async with NodeClient(self.url, self._who, self.netmap) as client:
            while True:
                event = client.session.receive(await client.socket.recv())
                await client.flush()
                if isinstance(event, Refusal | ServerBye):
                    return
                if isinstance(event, MapChanged):
                    self.told.append(event.how)
                    if self.client is None:
                        assert client.session.welcome is not None
                        self.id = client.session.welcome.node
                        self._who = client.again(client.session.welcome.token)
                        self.client = client


class Story:
    """One server, its members, and a seeded choice of what happens to them."""

    def __init__(self, server: Workers, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.url: str = server.status()["url"]
        self.policy = POLICIES[0]
        self.keys: list[str] = server.ask(self._prepare)
        self.members: dict[str, Member] = {}
        self.expected: dict[int, Map] = {}
        self.stopped: list[int] = []
        self._serial = 0

    def _prepare(self, admin: Admin) -> list[str]:
        """Users, the first policy, and a key for each kind of owner."""
        for user in USERS:
            admin.post("/v1/users", {"name": user})
        admin.put("/v1/policy", {"text": self.policy})
        return [admin.post("/v1/preauth-keys", {**owner, "uses": 1000})["key"] for owner in OWNERS]

    # Acts. Each ends when the server has said that it is done, or shows it.

    async def join(self) -> None:
        await self.join_many(1)

    async def join_many(self, count: int) -> None:
        """So many at once."""
        fresh = []
        for _ in range(count):
            self._serial += 1
            fresh.append(Member(self.url, f"n{self._serial}", self.random.choice(self.keys)))
        self.members.update({member.name: member for member in fresh})
        await until(lambda: all(member.stands for member in fresh), "they join")

    async def leave(self) -> None:
        if member := self._some():
            intent = self.random.random() < 0.5
            await member.leave(intent=intent)
            if intent:
                await self._shown(lambda node: not node["online"], member)

    async def come_back(self) -> None:
        away = [member for member in self.members.values() if member.away]
        if away:
            member = self.random.choice(away)
            member.come_back()
            await until(lambda: member.stands, f"{member.name} comes back")
            await self._shown(lambda node: node["online"], member)

    async def cut_off(self) -> None:
        """A connection breaks; its node is back at once, perhaps through another worker."""
        if (member := self._some()) and member.client is not None:
            client = member.client
            client.socket.transport.abort()
            await until(lambda: member.client not in (None, client), f"{member.name} is back")

    async def roam(self) -> None:
        if (member := self._some()) and member.client is not None:
            endpoint = f"192.0.2.{self.random.randrange(1, 9)}:{self.random.randrange(1000, 9000)}"
            member.client.session.endpoints((endpoint,))
            with contextlib.suppress(websockets.ConnectionClosed):
                await member.client.flush()
                await self._shown(lambda node: node["endpoints"] == [endpoint], member)

    async def rename(self) -> None:
        if member := self._some():
            self._serial += 1
            await self._patch(member, {"name": f"r{self._serial}"})

    async def tag(self) -> None:
        if member := self._some():
            await self._patch(member, {"tags": self.random.choice([["tag:web"], ["tag:db"], ["tag:web", "tag:db"]])})

    async def delete(self) -> None:
        if member := self._some():
            await self._gone(member)
            await self._ask(lambda admin: admin.delete(f"/v1/nodes/{member.id}"), "not_found")

    async def expire(self) -> None:
        if member := self._some():
            await self._gone(member)
            await self._ask(lambda admin: admin.post(f"/v1/nodes/{member.id}/expire"))

    async def edit_policy(self) -> None:
        self.policy = self.random.choice([text for text in POLICIES if text != self.policy])
        await self._ask(lambda admin: admin.put("/v1/policy", {"text": self.policy, "allow_all": True}))

    # Faults.

    async def kill_worker(self) -> None:
        os.kill(self._worker(), signal.SIGKILL)

    async def kill_leader(self) -> None:
        self._touch_all()
        os.kill(self.server.leader(), signal.SIGKILL)

    async def kill_all(self) -> None:
        self._touch_all()
        for pid in (self.server.leader(), *self.server.workers()):
            os.kill(pid, signal.SIGKILL)

    async def cut_links(self) -> None:
        """Every connection between the leader and its workers ends, in the midst of what is being said."""
        cut(self.server.leader(), self.server.data / SOCKET)

    async def pause_worker(self) -> None:
        """A worker stands still while other things happen; `heal` lets it go on."""
        self.stopped.append(self._worker())
        os.kill(self.stopped[-1], signal.SIGSTOP)

    async def pause_leader(self) -> None:
        """So does the leader, for a second."""
        leader = self.server.leader()
        os.kill(leader, signal.SIGSTOP)
        await asyncio.sleep(1.0)
        os.kill(leader, signal.SIGCONT)

    async def heal(self, seconds: float) -> None:
        """What stands still goes on, once it has stood for so long."""
        if self.stopped:
            await asyncio.sleep(seconds)
        while self.stopped:
            with contextlib.suppress(ProcessLookupError):  # a removal did not wait for it
                os.kill(self.stopped.pop(), signal.SIGCONT)

    # What must hold.

    async def look(self) -> None:
        """Note whose map ought to be another than when this was last asked."""
        fresh = await self.fresh()
        for member in self.members.values():
            member.touched |= fresh.get(member.id) != self.expected.get(member.id)
        self.expected = fresh

    async def settle(self) -> None:
        """Every connected node comes to hold its fresh map; nobody was told who need not have been."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not await self._is_current():
            if asyncio.get_running_loop().time() > deadline:
                self._check()
            await asyncio.sleep(AGAIN_S)
        await asyncio.sleep(WINDOW_S)
        await self.look()
        self._check()
        digests = await self.digests()
        for member in self._wanted():
            assert member.netmap.digest == digests[member.id], member.name
            assert member.touched or set(member.told) <= {"unchanged"}, f"{member.name} was told {member.told}"
            member.told, member.touched = [], False
        assert [fault for member in self.members.values() for fault in member.faults] == []

    async def _is_current(self) -> bool:
        await self.look()
        return all(member.stands and held_by(member.netmap) == self.expected[member.id] for member in self._wanted())

    def _check(self) -> None:
        for member in self._wanted():
            assert member.stands, f"{member.name} is stuck"
            assert held_by(member.netmap) == self.expected[member.id], member.name

    def _wanted(self) -> list[Member]:
        """Those who ought to be connected."""
        return [member for member in self.members.values() if not member.away]

    async def finish(self) -> None:
        """Whoever comes back with no map is sent the one that it held, byte for byte; no digest ever differed."""
        live = self._wanted()
        held = {member.name: member.netmap for member in live}
        for member in live:
            await member.leave(intent=False)
        await until(lambda: not any(member.stands for member in live), "they leave")
        for member in live:
            member.come_back(NetMap())
        await until(lambda: all(member.stands for member in live), "they come back")
        for member in live:
            before = held[member.name]
            assert member.netmap.parts == before.parts, member.name
            assert member.netmap.peers == before.peers, member.name
            assert member.netmap.profiles == before.profiles, member.name
            assert member.client is not None
            member.client.session.heartbeat(None)
            await member.client.flush()
        await asyncio.sleep(1.5)  # workers tell every second what they have counted
        assert self.server.metrics()["ghostwire_netmap_digest_mismatches_total"] == 0

    async def end(self) -> None:
        await asyncio.gather(*(member.end() for member in self.members.values()))

    async def fresh(self) -> dict[int, Map]:
        """Every node's map as it should be, by the slow twin."""
        users, listed, own = await self._ask(_network)
        nodes = {row["id"]: _node(row, own.get(row["id"], {})) for row in listed}
        for member in self.members.values():
            assert member.away or member.id in own, f"{member.name} is lost"
        shown = {row["id"]: Shown(online=row["online"], endpoints=tuple(row["endpoints"])) for row in listed}
        maps = ReferenceMaps(nodes, users, self.policy, shown, POOLS, {})
        maps.learn_numbers({node: part.get("class", 0) for node, part in own.items()})
        return {
            node: Map(maps.own(node), maps.peers(node), maps.rules(node), maps.ends(node), maps.profiles(node))
            for node in maps.nodes
        }

    async def digests(self) -> dict[int, bytes]:
        """What the leader says of the maps of those who are connected."""
        wanted = [member.id for member in self._wanted()]
        maps = await self._ask(lambda admin: {node: admin.get(f"/v1/nodes/{node}/netmap") for node in wanted})
        return {node: bytes.fromhex(netmap["digest"]) for node, netmap in maps.items()}

    # Within.

    def _some(self) -> Member | None:
        found = [member for member in self.members.values() if member.stands and not member.away]
        return self.random.choice(found) if found else None

    def _worker(self) -> int:
        return self.random.choice(sorted(self.server.workers()))

    def _touch_all(self) -> None:
        """A leader that crashed may have to send whole maps: it knows only the changes that it had written down."""
        for member in self.members.values():
            member.touched = True

    async def _gone(self, member: Member) -> None:
        del self.members[member.name]
        await member.end()

    async def _patch(self, member: Member, change: dict[str, Any]) -> None:
        await self._ask(lambda admin: admin.patch(f"/v1/nodes/{member.id}", change))

    async def _ask(self, what: Callable[[Admin], Any], *done: str) -> Any:
        """Ask until there is a leader that answers; errors with a code of `done` say that an earlier try did it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await asyncio.to_thread(self.server.ask, what)
                except UnavailableError:
                    await asyncio.sleep(AGAIN_S)
                except GhostwireError as error:
                    if error.code in done:
                        return None
                    raise

    async def _shown(self, holds: Callable[[dict[str, Any]], bool], member: Member) -> None:
        """Until the server shows a node so, or time is up: a leader that dies just then may never have heard it."""

        deadline = asyncio.get_running_loop().time() + SHOWN_S
        while asyncio.get_running_loop().time() < deadline:
            if holds(await self._ask(lambda admin: admin.get(f"/v1/nodes/{member.id}"))):
                return
            await asyncio.sleep(AGAIN_S)


def _network(admin: Admin) -> tuple[dict[int, User], list[dict[str, Any]], dict[int, dict[str, Any]]]:
    """Users, nodes, and each present node's own part."""
    listed = admin.get("/v1/nodes")["nodes"]
    users = {user["id"]: User(id=user["id"], name=user["name"]) for user in admin.get("/v1/users")["users"]}
    own = {row["id"]: admin.get(f"/v1/nodes/{row['id']}/netmap")["own"] for row in listed if not row["expired"]}
    return users, listed, own


def _node(row: dict[str, Any], own: dict[str, Any]) -> Node:
    """A node as it was listed; any number that no two share stands for its slot."""
    return Node(
        id=row["id"],
        slot=row["id"],
        name=row["name"],
        node_key=bytes.fromhex(row["node_key"].partition(":")[2]),
        machine_key=bytes(32),
        ipv4=row["ipv4"],
        ipv6=row["ipv6"],
        user_id=row["user_id"],
        tags=tuple(row["tags"]),
        expired=row["expired"],
        key_expiry=own.get("key_expiry", 0),
    )


async def until(what: Callable[[], bool], name: str, seconds: float = PATIENCE_S) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not what():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds:g} s: {name}"
        await asyncio.sleep(0.02)


Act = Callable[[Story], Awaitable[None]]
ACTS: Final[tuple[Act, ...]] = (
    Story.join,
    Story.leave,
    Story.come_back,
    Story.cut_off,
    Story.roam,
    Story.roam,
    Story.rename,
    Story.tag,
    Story.delete,
    Story.expire,
    Story.edit_policy,
)
FAULTS: Final[tuple[Act, ...]] = (
    Story.kill_worker,
    Story.kill_leader,
    Story.kill_all,
    Story.pause_worker,
    Story.pause_leader,
    *((Story.cut_links,) if may_cut() else ()),
)
