"""SessionManager: tokens, and which connection of a node is the live one."""

from __future__ import annotations

from collections.abc import Callable

from ghostwire._native import token
from ghostwire.coordinator.counters import Counters
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.state import State
from ghostwire.errors import AuthenticationError, NotFoundError
from ghostwire.model.change import Delete, Put, Write
from ghostwire.model.credential import SessionToken
from ghostwire.model.time import SECOND

_CONTEXT = "ghostwire v1 session token"
SWEEP_S = 600.0
"""How often lapsed tokens are cleaned up, in seconds."""
_SWEEP_ROWS = 500
SESSIONS_PER_S = 1 << 20
"""Numbers that sessions may take for each second of a run."""


class SessionManager:
    """Session tokens (256 random bits, kept as keyed BLAKE3 MACs, one a node, sliding) and live sessions.

    Sessions are numbered as they open, so whatever a connection says late is told from what the live one says.
    """

    def __init__(
        self, settings: Settings, state: State, mac_key: bytes, entropy: Callable[[int], bytes], utc: int
    ) -> None:
        self._life = round(settings.session_timeout_s * SECOND)
        self._state = state
        self._entropy = entropy
        self._table = token.TokenTable(token.derive_key(_CONTEXT, mac_key))
        self._live: dict[int, int] = {}
        # Higher than any number of an earlier run, whose sessions may live on.
        self._last = utc // SECOND * SESSIONS_PER_S
        self._lapsed: list[bytes] = []

    def restore(self, record: SessionToken, slid_to: int) -> None:
        """Know a token from before the start; `slid_to` is the later end that use has given it since, if any."""
        self._table.insert(record.mac, record.node_id, max(record.expires_at, slid_to))

    def committed(self, old: SessionToken | None, new: SessionToken | None) -> None:
        """Follow a committed change of a node's token."""
        if old is not None:
            self._table.remove(old.mac)
        if new is not None:
            self._table.insert(new.mac, new.node_id, new.expires_at)

    def mint(self, node: int, utc: int) -> tuple[str, Put]:
        """A fresh token's text, and the write that puts it in the place of the node's last one."""
        text = token.encode(self._entropy(32))
        old = self._state.session_tokens.get(node)
        version = 0 if old is None else old.version
        record = SessionToken(node_id=node, mac=self._table.mac(text), expires_at=utc + self._life, version=version + 1)
        return text, Put("session_tokens", record, version)

    def void(self, node: int) -> tuple[Write, ...]:
        """The write that ends a node's token, if it has one."""
        old = self._state.session_tokens.get(node)
        return () if old is None else (Delete("session_tokens", node, old.version),)

    def slide(self, node: int, text: str, utc: int) -> int:
        """Check a token of this node and prolong it: its new end. Raises `AuthenticationError`."""
        if self._table.check(text, utc) != node:
            raise AuthenticationError("the session token is another node's")
        end = utc + self._life
        self._table.insert(self._table.mac(text), node, end)
        return end

    def sweep(self, utc: int) -> tuple[Write, ...]:
        """The writes that clean up tokens which have lapsed: at most 500 at a time, the others next time."""
        self._lapsed.extend(self._table.sweep(utc))
        batch, self._lapsed = self._lapsed[:_SWEEP_ROWS], self._lapsed[_SWEEP_ROWS:]
        found = (self._state.session_token_by_mac.get(mac) for mac in batch)
        return tuple(Delete("session_tokens", record.node_id, record.version) for record in found if record is not None)

    # Live sessions.

    def open(self, node: int) -> int:
        """Number a session, the live one of this node from now on."""
        self._last += 1
        self._live[node] = self._last
        return self._last

    def adopt(self, node: int, session: int) -> None:
        """Know a session that an earlier run has opened. Raises `NotFoundError` where a later one stands."""
        if self._live.setdefault(node, session) != session:
            raise NotFoundError("this session is over: another one of its node stands")

    def live(self, node: int) -> int | None:
        """The number of the node's live session, None without one."""
        return self._live.get(node)

    def close(self, node: int, session: int | None = None) -> int | None:
        """End the live session, or only this one; its number, None when there was nothing to end."""
        live = self._live.get(node)
        if live is None or (session is not None and session != live):
            return None
        del self._live[node]
        return live

    def require(self, node: int, session: int, counters: Counters) -> None:
        """Raise `NotFoundError` unless this is the node's live session."""
        if self._live.get(node) != session:
            counters.heartbeats["stale"] += 1
            raise NotFoundError("this session is over: open another one")

    def count(self) -> int:
        """How many sessions are live."""
        return len(self._live)
