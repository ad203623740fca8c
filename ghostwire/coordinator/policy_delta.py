"""Which rules two policy texts do not share: only what these allow can differ between the policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ghostwire.coordinator.census import Directory
from ghostwire.coordinator.policy_text import document
from ghostwire.policy import Engine, Policy

_MEANINGS: Final = ("groups", "hosts", "ipsets", "postures", "defaultsrcposture", "nodeattrs", "ghostwire")
"""The sections that say what names in rules stand for, or limit them."""
_RULES: Final = ("acls", "grants")


def delta_engine(texts: tuple[str, str], engines: tuple[Engine, Engine], directory: Directory) -> Engine | None:
    """A policy of the rules alone that one of the texts has and the other has not.

    None where more differs than rules: what names stand for, or whom they mean.
    """
    if not all(texts):
        return None
    left, right = (document(text) for text in texts)
    bindings = [engine.bindings for engine in engines]
    common = bindings[0].keys() & bindings[1].keys()
    if any(bindings[0][name] != bindings[1][name] for name in common):
        return None
    if any(left.get(name) != right.get(name) for name in _MEANINGS) or _is_open(left) or _is_open(right):
        return None
    sections: dict[str, Any] = {name: left[name] for name in _MEANINGS if name in left}
    sections["tagowners"] = {**(left.get("tagowners") or {}), **(right.get("tagowners") or {})}
    for name in _RULES:
        sections[name] = _unshared(left.get(name) or (), right.get(name) or ())
    policy = Policy.parse(msgspec.json.encode(sections).decode())
    return directory.build(policy, {**bindings[0], **bindings[1]})


def _is_open(sections: Mapping[str, Any]) -> bool:
    """Whether there are no rules, which allows everything."""
    return all(name not in sections for name in _RULES)


def _unshared(left: Sequence[Any], right: Sequence[Any]) -> list[msgspec.Raw]:
    counts: Counter[bytes] = Counter(map(msgspec.json.encode, left))
    counts.subtract(map(msgspec.json.encode, right))
    return [msgspec.Raw(rule) for rule, count in counts.items() if count]
