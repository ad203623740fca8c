"""Judge replayed answers against recordings of the service: which checks of a case hold.

The rules are those of the replay contract; nothing here knows how answers are made.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CAP = "https://tailscale.com/cap/"
_IGNORED = {
    *(_CAP + name for name in ("is-admin", "is-owner", "tailnet-lock", "warn-funnel-no-https")),
    *("service-host", "store-appc-routes", "tailnet-display-name", "tailnet.maxKeyDuration", "native-ipv4"),
    *("probe-udp-lifetime", "ssh-behavior-v1", "ssh-env-vars"),
}


def cases(path: Path) -> Iterator[dict[str, Any]]:
    """Read recorded cases from a `.jsonl.xz` file."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _bag(values: Any) -> list[str]:
    return sorted(json.dumps(value, sort_keys=True) for value in values or [])


def _bare(value: Any) -> Any:
    """Drop what counts as absent: null, empty lists, empty mappings."""
    if isinstance(value, dict):
        found = {key: _bare(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, [], {})}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value


def _filter_rule(rule: dict[str, Any]) -> Any:
    grants = [{"Dsts": _bag(g.get("Dsts")), "CapMap": _caps(g.get("CapMap"))} for g in rule.get("CapGrant") or []]
    return {
        "SrcIPs": _bag(rule.get("SrcIPs")),
        "DstPorts": _bag(rule.get("DstPorts")),
        "IPProto": _bag(rule.get("IPProto")),
        "CapGrant": _bag(grants),
    }


def _caps(caps: Any) -> dict[str, Any]:
    kept = {}
    for name, values in (caps or {}).items():
        if name not in _IGNORED and not name.startswith(_CAP + "funnel-ports?"):
            kept[name] = values or None
    return kept


def _ssh_rule(rule: dict[str, Any]) -> Any:
    action = {key: value for key, value in (rule.get("action") or {}).items() if value not in (False, "", None, [], {})}
    if "holdAndDelegate" in action:
        action["holdAndDelegate"] = action["holdAndDelegate"].split("://", 1)[-1].partition("/")[2]
    return {
        "principals": _bag(rule.get("principals")),
        "sshUsers": rule.get("sshUsers") or {},
        "action": action,
        "acceptEnv": rule.get("acceptEnv") or [],
    }


def _peer_sets(view: dict[str, Any], field: str) -> dict[str, list[str]]:
    return {name: sorted(set(peer.get(field) or [])) for name, peer in (view.get("peers") or {}).items()}


_NODE_CHECKS = {
    "packet_filter": lambda view: [_filter_rule(rule) for rule in view.get("packet_filter") or []],
    "ssh_rules": lambda view: [_ssh_rule(rule) for rule in view.get("ssh_rules") or []],
    "peers": lambda view: sorted(view.get("peers") or {}),
    "allowed_ips": lambda view: _peer_sets(view, "allowed_ips"),
    "primary_routes": lambda view: _peer_sets(view, "primary_routes"),
    "cap_map": lambda view: _caps(view.get("cap_map")),
    "peer_cap_map": lambda view: {n: _caps(p.get("cap_map")) for n, p in (view.get("peers") or {}).items()},
}


def failures(case: dict[str, Any], answer: dict[str, Any]) -> list[str]:
    """Return what does not hold, one line each; empty means that the case passes."""
    expected, found = case["expected"], []
    for check in expected["checks"]:
        if check == "accepted":
            if answer["accepted"] != expected["accepted"]:
                found.append(f"accepted: {answer['accepted']}, error {answer['error']}")
        elif check == "message":
            if expected["message"] not in (answer["error"] or ""):
                found.append(f"message: {answer['error']!r} lacks {expected['message']!r}")
        else:
            found += _node_failures(check, expected["nodes"], answer["nodes"])
    return found


def _node_failures(check: str, expected: dict[str, Any], answered: dict[str, Any]) -> list[str]:
    found = []
    for name, view in expected.items():
        if name not in answered:
            found.append(f"{check} of {name}: no answer")
            continue
        wanted, got = (_bare(_NODE_CHECKS[check](side)) for side in (view, answered[name]))
        if wanted != got:
            found.append(f"{check} of {name}:\n    want {json.dumps(wanted)}\n    got  {json.dumps(got)}")
    return found


def score(passed: Counter[str], total: Counter[str]) -> dict[str, float]:
    """Return the share of cases reached, by kind and over `all`."""
    shares = {kind: passed[kind] / total[kind] for kind in total}
    return shares | {"all": sum(passed.values()) / sum(total.values())}
