"""The tunnel speaks WireGuard: a TUN device here, wireguard-go there, both directions, with a rekey between."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.native.namespaces import RemoteTunnel, ip, needs_root, run_in, two_namespaces
from tests.native.wireguard_go import WireGuardGo, build, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [needs_root, pytest.mark.netns, pytest.mark.integration]

OURS = ("100.64.0.1", "fd7a:115c:a1e0::1")
THEIRS = ("100.64.0.2", "fd7a:115c:a1e0::2")
ALLOW = json.dumps([{"classes": [7]}])


class Pair(NamedTuple):
    tunnel: RemoteTunnel
    theirs: WireGuardGo
    names: tuple[str, str]
    peer: dict[str, object]


@pytest.fixture(scope="module")
def program() -> Path:
    folder = Path.home() / ".cache" / "ghostwire-tests" / "wireguard-go"
    folder.mkdir(parents=True, exist_ok=True)
    built = build(folder)
    if built is None:
        pytest.skip("needs Go")
    return built


@pytest.fixture
def pair(program: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    mode = getattr(request, "param", "tun")
    ours, theirs = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    with two_namespaces() as names, ExitStack() as stack:
        tunnel = stack.enter_context(RemoteTunnel(names[0]))
        config = {
            "private_key": ours.private_bytes_raw().hex(),
            "addresses": OURS,
            "tun": "gwtest0" if mode == "tun" else None,
        }
        port = tunnel.open(json.dumps(config))["port"]
        instance = stack.enter_context(running(program, names[1], f"wg{names[1][4:10]}"))
        instance.configure(
            theirs.private_bytes_raw().hex(),
            51_821,
            ours.public_key().public_bytes_raw().hex(),
            f"10.202.0.1:{port}",
            [f"{OURS[0]}/32", f"{OURS[1]}/128"],
        )
        device = instance.path.stem
        for address, length in zip(THEIRS, (10, 48), strict=True):
            ip("-n", names[1], "addr", "add", f"{address}/{length}", "dev", device)
        ip("-n", names[1], "link", "set", device, "mtu", "1280", "up")
        peer = {
            "id": 2,
            "key": theirs.public_key().public_bytes_raw().hex(),
            "allowed_ips": [f"{THEIRS[0]}/32", f"{THEIRS[1]}/128"],
            "endpoints": ["10.202.0.2:51821"],
            "class": 7,
        }
        tunnel.set_filter(ALLOW)
        yield Pair(tunnel, instance, names, peer)


def ping(namespace: str, address: str) -> bool:
    return run_in(namespace, "ping", "-c", "1", "-W", "5", address).returncode == 0


def test_we_begin(pair: Pair) -> None:
    pair.tunnel.set_peers(json.dumps([pair.peer]))
    for address in THEIRS:
        assert pair.tunnel.ping(address, 5_000) is not None
        assert ping(pair.names[0], address)
    assert int(pair.theirs.state()["rx_bytes"]) > 0


def test_they_begin_and_where_they_are_is_learned(pair: Pair) -> None:
    pair.tunnel.set_peers(json.dumps([pair.peer | {"endpoints": []}]))
    for address in OURS:
        assert ping(pair.names[1], address)
    [status] = pair.tunnel.peers()
    assert status["endpoint"] == "10.202.0.2:51821"
    assert status["handshakes"] == 1
    for address in THEIRS:
        assert ping(pair.names[0], address)


@pytest.mark.parametrize("pair", ["userspace"], indirect=True)
def test_without_a_device(pair: Pair) -> None:
    pair.tunnel.set_peers(json.dumps([pair.peer]))
    assert pair.tunnel.ping(THEIRS[0], 5_000) is not None
    for address in OURS:
        assert ping(pair.names[1], address)


def test_a_new_session_replaces_the_old_without_a_gap(pair: Pair) -> None:
    pair.tunnel.set_peers(json.dumps([pair.peer]))
    assert ping(pair.names[0], THEIRS[0])
    # Hearing of another place makes us offer a new session; the old one answers until it stands.
    moved = pair.peer | {"endpoints": ["10.202.0.2:51999", "10.202.0.2:51821"]}
    fresh = X25519PrivateKey.generate()
    pair.tunnel.set_peers(json.dumps([moved]))
    assert ping(pair.names[0], THEIRS[0])
    # And after a rotation of our key, which they are told, they accept the new one.
    pair.tunnel.set_private_key(list(fresh.private_bytes_raw()))
    state = pair.theirs.state()
    pair.theirs.configure(
        state["private_key"],
        51_821,
        fresh.public_key().public_bytes_raw().hex(),
        None,
        [f"{OURS[0]}/32", f"{OURS[1]}/128"],
    )
    assert pair.tunnel.ping(THEIRS[0], 10_000) is not None
    assert ping(pair.names[1], OURS[0])


def test_the_filter_judges_their_packets(pair: Pair) -> None:
    pair.tunnel.set_peers(json.dumps([pair.peer | {"class": 8}]))
    assert run_in(pair.names[1], "ping", "-c", "1", "-W", "1", OURS[0]).returncode != 0
    # Replies to what this node begins pass all the same.
    assert ping(pair.names[0], THEIRS[0])
