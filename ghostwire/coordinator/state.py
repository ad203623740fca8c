"""Committed state: a fold of row images, with the indexes that decisions look things up by.

Loading, committing and replaying a log all go through `State.apply`, so they end in the same state.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from ghostwire.errors import InternalError
from ghostwire.model.access import AccessRequest
from ghostwire.model.change import Put, Write
from ghostwire.model.credential import (
    ApiToken,
    PreauthKey,
    RefusedKey,
    RestingAddress,
    SessionToken,
    Setting,
)
from ghostwire.model.node import Node
from ghostwire.model.policy import PolicyTrial, PolicyVersion
from ghostwire.model.user import Identity, User

Op = Literal["put", "delete"]


class Table(NamedTuple):
    """A table: its record type and what a record's key is."""

    record: type[msgspec.Struct]
    key: Callable[[Any], Any]


TABLES: Final[Mapping[str, Table]] = {
    "users": Table(User, lambda user: user.id),
    "identities": Table(Identity, lambda identity: (identity.issuer, identity.subject)),
    "nodes": Table(Node, lambda node: node.id),
    "preauth_keys": Table(PreauthKey, lambda key: key.id),
    "session_tokens": Table(SessionToken, lambda token: token.node_id),
    "api_tokens": Table(ApiToken, lambda token: token.id),
    "refused_keys": Table(RefusedKey, lambda refused: refused.node_key),
    "resting_addresses": Table(RestingAddress, lambda resting: resting.address),
    "policies": Table(PolicyVersion, lambda policy: policy.number),
    "policy_trials": Table(PolicyTrial, lambda trial: trial.number),
    "access_requests": Table(AccessRequest, lambda request: request.id),
    "settings": Table(Setting, lambda setting: setting.name),
}

Numbered = Literal["nodes", "users", "preauth_keys", "api_tokens"]
_FLOORS: Final[dict[Numbered, str]] = {
    "nodes": "node_id_floor",
    "users": "user_id_floor",
    "preauth_keys": "preauth_key_id_floor",
    "api_tokens": "api_token_id_floor",
}


class State:
    """The tables in memory. Readers see committed rows only; `seq` is the last change applied."""

    def __init__(self) -> None:
        self.seq = 0
        self.tables: dict[str, dict[Any, Any]] = {name: {} for name in TABLES}
        self.users: dict[int, User] = self.tables["users"]
        self.nodes: dict[int, Node] = self.tables["nodes"]
        self.preauth_keys: dict[int, PreauthKey] = self.tables["preauth_keys"]
        self.session_tokens: dict[int, SessionToken] = self.tables["session_tokens"]
        self.api_tokens: dict[int, ApiToken] = self.tables["api_tokens"]
        self.refused_keys: dict[bytes, RefusedKey] = self.tables["refused_keys"]
        self.resting: dict[str, RestingAddress] = self.tables["resting_addresses"]
        self.policies: dict[int, PolicyVersion] = self.tables["policies"]
        self.trials: dict[int, PolicyTrial] = self.tables["policy_trials"]
        self.access: dict[int, AccessRequest] = self.tables["access_requests"]
        self.approved: dict[int, AccessRequest] = {}
        self.settings: dict[str, Setting] = self.tables["settings"]
        self.node_by_name: dict[str, Node] = {}
        self.node_by_key: dict[bytes, Node] = {}
        self.node_by_slot: dict[int, Node] = {}
        self.node_by_address: dict[str, Node] = {}
        self.nodes_of: dict[int, dict[int, Node]] = {}
        self.user_by_name: dict[str, User] = {}
        self.preauth_by_mac: dict[bytes, PreauthKey] = {}
        self.api_token_by_mac: dict[bytes, ApiToken] = {}
        self.session_token_by_mac: dict[bytes, SessionToken] = {}
        self.policy: PolicyVersion | None = None
        self._node_ids: list[int] = []

    @classmethod
    def load(cls, tables: Mapping[str, Iterable[Any]], seq: int) -> State:
        """The state whose tables hold these records. Raises `InternalError` for a table that does not exist."""
        state = cls()
        for name, records in tables.items():
            if name not in TABLES:
                raise InternalError(f"there is no table {name!r}")
            key = TABLES[name].key
            for record in records:
                state.apply(name, "put", key(record), record)
        state.seq = seq
        return state

    def apply(self, table: str, op: Op, key: Any, record: Any = None) -> Any:
        """Put the record, or delete the one with this key; what stood there before, or None."""
        rows = self.tables[table]
        old = rows.pop(key, None) if op == "delete" else rows.get(key)
        if op == "put":
            rows[key] = record
        index = _INDEXES.get(table)
        if index is not None:
            index(self, old, record if op == "put" else None)
        return old

    def apply_writes(self, writes: Iterable[Write], seq: int) -> list[tuple[str, Any, Any]]:
        """Apply the writes of one committed change; for each its table, the record before and the one after."""
        moved: list[tuple[str, Any, Any]] = []
        for write in writes:
            if isinstance(write, Put):
                key = TABLES[write.table].key(write.record)
                moved.append((write.table, self.apply(write.table, "put", key, write.record), write.record))
            else:
                moved.append((write.table, self.apply(write.table, "delete", write.key), None))
        self.seq = seq
        return moved

    def highest_node_id(self) -> int:
        """The highest id of a node that exists, 0 without nodes."""
        while self._node_ids and -self._node_ids[0] not in self.nodes:
            heapq.heappop(self._node_ids)
        return -self._node_ids[0] if self._node_ids else 0

    def id_floor(self, table: Numbered) -> int:
        """The highest id that a deleted record of the table had, as far as higher ones do not show it."""
        kept = self.settings.get(_FLOORS[table])
        return 0 if kept is None else int.from_bytes(kept.value, "big")

    def raise_floor(self, table: Numbered, key: int) -> tuple[Write, ...]:
        """What a deletion of `key` must write too, so that its id is never given again after a restart."""
        highest = self.highest_node_id() if table == "nodes" else max(self.tables[table], default=0)
        if key < highest or key <= self.id_floor(table):
            return ()
        return (self.setting(_FLOORS[table], key.to_bytes(8, "big")),)

    def setting(self, name: str, value: bytes) -> Put:
        """The write that sets a setting to `value`."""
        old = self.settings.get(name)
        version = 0 if old is None else old.version
        return Put("settings", Setting(name=name, value=value, version=version + 1), version)

    # Indexes: `old` leaves them, `new` enters.

    def _index_node(self, old: Node | None, new: Node | None) -> None:
        if old is not None:
            _leave(self.node_by_name, old.name, old)
            _leave(self.node_by_key, old.node_key, old)
            _leave(self.node_by_slot, old.slot, old)
            for address in (old.ipv4, old.ipv6):
                _leave(self.node_by_address, address, old)
            if old.user_id is not None:
                owned = self.nodes_of[old.user_id]
                del owned[old.id]
                if not owned:
                    del self.nodes_of[old.user_id]
        if new is not None:
            self.node_by_name[new.name] = new
            self.node_by_key[new.node_key] = new
            self.node_by_slot[new.slot] = new
            self.node_by_address[new.ipv4] = new
            self.node_by_address[new.ipv6] = new
            if new.user_id is not None:
                self.nodes_of.setdefault(new.user_id, {})[new.id] = new
            if old is None:
                heapq.heappush(self._node_ids, -new.id)

    def _index_user(self, old: User | None, new: User | None) -> None:
        if old is not None:
            _leave(self.user_by_name, old.name, old)
        if new is not None:
            self.user_by_name[new.name] = new

    def _index_preauth(self, old: PreauthKey | None, new: PreauthKey | None) -> None:
        if old is not None:
            _leave(self.preauth_by_mac, old.mac, old)
        if new is not None:
            self.preauth_by_mac[new.mac] = new

    def _index_api_token(self, old: ApiToken | None, new: ApiToken | None) -> None:
        if old is not None:
            _leave(self.api_token_by_mac, old.mac, old)
        if new is not None:
            self.api_token_by_mac[new.mac] = new

    def _index_session_token(self, old: SessionToken | None, new: SessionToken | None) -> None:
        if old is not None:
            _leave(self.session_token_by_mac, old.mac, old)
        if new is not None:
            self.session_token_by_mac[new.mac] = new

    def _index_access(self, old: AccessRequest | None, new: AccessRequest | None) -> None:
        if old is not None:
            self.approved.pop(old.id, None)
        if new is not None and new.state == "approved":
            self.approved[new.id] = new

    def _index_policy(self, old: PolicyVersion | None, new: PolicyVersion | None) -> None:
        if new is not None and (self.policy is None or new.number >= self.policy.number):
            self.policy = new
        elif new is None and old is not None and old is self.policy:
            self.policy = self.policies[max(self.policies)] if self.policies else None


def _leave(index: dict[Any, Any], key: Any, record: Any) -> None:
    """Forget an entry unless another record has taken its place."""
    if index.get(key) is record:
        del index[key]


_INDEXES: Final[dict[str, Callable[[State, Any, Any], None]]] = {
    "nodes": State._index_node,
    "users": State._index_user,
    "preauth_keys": State._index_preauth,
    "session_tokens": State._index_session_token,
    "api_tokens": State._index_api_token,
    "policies": State._index_policy,
    "access_requests": State._index_access,
}
