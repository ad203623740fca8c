"""Pre-auth keys and operators' tokens that have ended: kept for a while, so that people see what became of them."""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from ghostwire.coordinator.state import State
from ghostwire.model.change import Delete, Write
from ghostwire.model.credential import ApiToken, PreauthKey
from ghostwire.model.time import SECOND

KEPT_S: Final = 30 * 86_400.0
"""How long after its end one is kept."""
MOST: Final = 500
"""Keys, and tokens, that one change removes."""


class Purge(NamedTuple):
    """The writes that remove some of those whose time has come. Where it is `full` there may be more of them."""

    writes: tuple[Write, ...]
    full: bool


def purge(state: State, utc: int) -> Purge:
    """What removes the first of those whose time has come.

    A key stays as long as a node that came with it: that one may show it again, and is recognised.
    """
    before = utc - round(KEPT_S * SECOND)
    ended = [key for key in state.preauth_keys.values() if _over_at(key) <= before]
    shown = {node.preauth_id for node in state.nodes.values()} if ended else set()
    keys = list(islice((key for key in ended if key.id not in shown), MOST))
    tokens = list(islice((token for token in state.api_tokens.values() if _over_at(token) <= before), MOST))
    writes = (
        *(Delete("preauth_keys", key.id, key.version) for key in keys),
        *(Delete("api_tokens", token.id, token.version) for token in tokens),
        *state.raise_floor("preauth_keys", max((key.id for key in keys), default=0)),
        *state.raise_floor("api_tokens", max((token.id for token in tokens), default=0)),
    )
    return Purge(writes, MOST in (len(keys), len(tokens)))


def _over_at(credential: PreauthKey | ApiToken) -> int:
    """When it ends, or did."""
    return min(credential.ended_at or credential.expires_at, credential.expires_at)
