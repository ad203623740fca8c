"""Writes protocol.json beside this file: the vectors of docs/protocol.md, from fixed numbers. Run it once a change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from ghostwire.model.filter import FilterRule, SightEnd
from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeFacts, NodeMetrics
from ghostwire.model.position import Position
from ghostwire.wire import codec
from ghostwire.wire.keys import clamp, public_key, shared_secret
from ghostwire.wire.messages import (
    Answer,
    Challenge,
    ChallengeRequest,
    Endpoints,
    Heartbeat,
    HeartbeatAck,
    HeldHead,
    Hello,
    HelloBody,
    LogHead,
    MapDelta,
    MapFull,
    MapUnchanged,
    NodeBye,
    Parts,
    Pending,
    Proof,
    Query,
    Refusal,
    Register,
    RegisterBody,
    Resync,
    RotateBody,
    Rotated,
    RotateKey,
    RotateOrder,
    ServerBye,
    Welcome,
)
from ghostwire.wire.netmap import Dns, Filter, NetMap, Network, Peer, Profile, Relays, SelfNode, encode_part
from ghostwire.wire.packed_map import packed
from ghostwire.wire.packing import DICTIONARY, NAME
from ghostwire.wire.proof import Purpose, Transcript, prove

P = 2**255 - 19


def seeded(label: str, size: int = 32) -> bytes:
    return hashlib.shake_256(f"ghostwire v1 vector {label}".encode()).digest(size)


NODE, NEW, CHALLENGE = (clamp(seeded(label)) for label in ("node", "new", "challenge"))
NODE_KEY, NEW_KEY = public_key(NODE), public_key(NEW)
NONCE, SPKI, LOG, BOOT = seeded("nonce"), seeded("spki"), seeded("log", 16), seeded("boot", 16)
FACTS = NodeFacts(hostname="laptop", os="linux", agent_version="0.1.0", routable_routes=("192.0.2.0/24",))
REGISTER = codec.encode(
    RegisterBody(node_key=NODE_KEY, machine_key=public_key(clamp(seeded("machine"))), facts=FACTS, preauth_key="secret")
)
HELLO = codec.encode(
    HelloBody(node_key=NODE_KEY, token="token", resume=Position(LOG, 9, BOOT, 4), digest=seeded("digest", 16))
)
ROTATE = codec.encode(RotateBody(node_key=NODE_KEY, new_key=NEW_KEY))


def transcript(purpose: Purpose, body: bytes, origin: str, spki: bytes, new_key: bytes = b"") -> Transcript:
    return Transcript(
        purpose=purpose,
        network="example",
        origin=origin,
        spki=spki,
        challenge_key=public_key(CHALLENGE),
        nonce=NONCE,
        node_key=NODE_KEY,
        new_key=new_key,
        body=body,
    )


def proofs() -> list[dict[str, Any]]:
    origin = "https://mesh.example.com"
    cases = [
        (transcript("register", REGISTER, origin, SPKI), NODE),
        (transcript("hello", HELLO, "https://[2001:db8::1]:8443", SPKI), NODE),
        (transcript("hello", HELLO, "http://127.0.0.1:8080", b""), NODE),
        (transcript("rotate-old", ROTATE, origin, SPKI, NEW_KEY), NODE),
        (transcript("rotate-new", ROTATE, origin, SPKI, NEW_KEY), NEW),
    ]
    return [
        {
            "purpose": case.purpose,
            "network": case.network,
            "origin": case.origin,
            "spki": case.spki.hex(),
            "challenge_private": CHALLENGE.hex(),
            "challenge_key": case.challenge_key.hex(),
            "nonce": case.nonce.hex(),
            "private": private.hex(),
            "node_key": case.node_key.hex(),
            "new_key": case.new_key.hex(),
            "body": case.body.hex(),
            "secret": shared_secret(private, case.challenge_key).hex(),
            "transcript": case.encode().hex(),
            "mac": prove(case, private).hex(),
        }
        for case, private in cases
    ]


def refused_keys() -> list[dict[str, str]]:
    eights = (
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
    values = {"zero": 0, "one": 1, "order eight": eights[0], "order eight too": eights[1], "p - 1": P - 1}
    values |= {"p": P, "p + 1": P + 1, "p + 9": P + 9, "all ones": 2**256 - 1}
    found = [{"why": why, "key": value.to_bytes(32, "little").hex()} for why, value in values.items()]
    return [*found, {"why": "31 bytes", "key": bytes(31).hex()}, {"why": "33 bytes", "key": (b"\x09" * 33).hex()}]


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def messages() -> list[dict[str, Any]]:
    here = Position(LOG, 300, BOOT, 70000)
    proof = Proof(mac=seeded("mac"), nonce=NONCE, origin="https://mesh.example.com", spki=SPKI)
    metrics = NodeMetrics(load_factor=0.5, uptime_seconds=70, bytes_in=2**40)
    every: list[msgspec.Struct] = [
        Challenge(key=public_key(CHALLENGE), nonce=NONCE, network="example"),
        Welcome(token="token", node=7, session=3, heartbeat_s=30.0, utc=1_900_000_000_000_000_000),
        Pending(url="https://mesh.example.com/approve/7"),
        Refusal(code="not_found", message="there is no such peer", query=2),
        Refusal(code="resource_exhausted", message="slow down", retry_after=0.5, final=True),
        MapUnchanged(position=here, digest=seeded("digest", 16)),
        MapDelta(position=here, parts=Parts(), gone=(4, 300)),
        HeartbeatAck(utc=1),
        HeartbeatAck(utc=2, position=here),
        Answer(id=2, peers=(seeded("peer", 5),)),
        RotateOrder(),
        Rotated(token="token"),
        LogHead(signed=seeded("head", 64), key=seeded("head key", 64)),
        ServerBye(reason="the coordinator stops", retry_after=1.0),
        Register(body=REGISTER, proof=proof),
        Hello(body=HELLO, proof=proof),
        RotateKey(body=ROTATE, old_proof=proof, new_proof=proof),
        ChallengeRequest(),
        Heartbeat(
            position=here,
            digest=seeded("digest", 16),
            metrics=metrics,
            hits={0: 2, 8_314_159_265_358_979: 1},
            flows={7: Flow(rx_packets=3, rx_bytes=4096, tx_packets=2, tx_bytes=168)},
        ),
        Heartbeat(),
        Endpoints(endpoints=("192.0.2.1:51820", "[2001:db8::1]:51820")),
        Query(id=2, name="phone"),
        Query(id=3),
        Resync(),
        HeldHead(signed=seeded("head", 64)),
        NodeBye(),
        NodeBye(logout=True),
    ]
    return [
        {
            "type": (fields := msgspec.msgpack.decode(data := codec.encode(message))).pop("type"),
            "fields": plain(fields),
            "bytes": data.hex(),
        }
        for message in every
    ]


def peer(node: int, **more: Any) -> bytes:
    values: dict[str, Any] = {
        "id": node,
        "name": f"peer-{node}",
        "key": public_key(clamp(seeded(f"peer {node}"))),
        "ipv4": f"100.64.0.{node}",
        "ipv6": f"fd7a:115c:a1e0::{node:x}",
        "owner": 1,
    }
    return encode_part(Peer(**values | more))


def the_map() -> list[dict[str, Any]]:
    own = SelfNode(id=1, name="laptop", key=NODE_KEY, ipv4="100.64.0.1", ipv6="fd7a:115c:a1e0::1", owner=1)
    rules = (FilterRule(same_owner=True), FilterRule(classes=(3,), ports=((443, 443),), protocols=(6,), rule=271_828))
    ends = (SightEnd(classes=(3,), until=1_900_000_000_000_000_000), SightEnd(nodes=(2,)))
    network = Network(id="example", domain="mesh.ghost", max_age_s=604800.0, heartbeat_s=30.0)
    first = Parts(
        self=encode_part(own),
        filter=encode_part(Filter(rules=rules, ends=ends)),
        dns=encode_part(Dns(domain="mesh.ghost")),
        relays=encode_part(Relays()),
        network=encode_part(network),
        peers={2: peer(2), 300: peer(3, id=300, tags=("tag:server",), owner=0, class_id=3)},
    )
    second = Parts(peers={4: peer(4, online=True)}, profiles={1: encode_part(Profile(id=1, display_name="Alice"))})
    whole = NetMap()
    whole._set(first)
    whole._set(second)
    position = Position(LOG, 12, BOOT, 5)
    steps: list[msgspec.Struct] = [
        MapFull(page=0, parts=first),
        MapFull(page=1, parts=second, last=True, position=position, digest=whole.digest),
        MapDelta(
            position=Position(LOG, 12, BOOT, 6),
            parts=Parts(peers={2: peer(2, online=True, endpoints=("192.0.2.1:51820",))}),
        ),
        MapDelta(
            position=Position(LOG, 14, BOOT, 6),
            parts=Parts(filter=encode_part(Filter(rules=(FilterRule(same_owner=True),))), peers={5: peer(5)}),
            gone=(300, 4),
            gone_profiles=(1,),
        ),
        MapUnchanged(position=Position(LOG, 15, BOOT, 6), digest=b""),
        MapDelta(position=Position(LOG, 15, BOOT, 7), parts=Parts(peers={1: peer(1), 2: peer(2)})),
    ]
    held = NetMap()
    found = []
    for step in steps:
        if isinstance(step, MapFull):
            held.apply_page(step)
        elif isinstance(step, MapDelta):
            held.apply_delta(step)
        elif isinstance(step, MapUnchanged):
            step = msgspec.structs.replace(step, digest=held.digest)
            held.position = step.position
        found.append(
            {
                "bytes": codec.encode(step).hex(),
                "peers": sorted(held.peers),
                "position": plain(msgspec.to_builtins(held.position, builtin_types=(bytes,))),
                "digest": held.digest.hex() if held.position else None,
            }
        )
    return found


def packing() -> dict[str, Any]:
    tags, routes = ("tag:server",), ("192.0.2.0/24",)
    peers = {node: peer(node, online=node % 2 == 0, owner=1) for node in range(2, 12)}
    peers |= {node: peer(node, owner=0, tags=tags, routes=routes, class_id=node) for node in range(200, 210)}
    position = Position(LOG, 12, BOOT, 5)
    every = [
        MapFull(page=0, parts=Parts(peers=peers), last=True, position=position, digest=seeded("digest", 16)),
        MapFull(page=1, parts=Parts(peers={2: peer(2)})),
        MapDelta(position=position, parts=Parts(peers={2: peer(2, online=True, endpoints=("192.0.2.1:51820",))})),
        HeartbeatAck(utc=1),
    ]
    return {
        "dictionary": DICTIONARY.hex(),
        "name": NAME.hex(),
        "messages": [
            {"plain": (data := codec.encode(message)).hex(), "packed": packed(data).hex()} for message in every
        ],
    }


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    return {
        "proofs": proofs(),
        "refused_keys": refused_keys(),
        "messages": messages(),
        "map": the_map(),
        "packing": packing(),
    }


if __name__ == "__main__":
    Path(__file__).with_name("protocol.json").write_text(json.dumps(vectors(), indent=1) + "\n", encoding="utf-8")
