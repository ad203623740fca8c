"""How a machine becomes a node, and how a node's machine registers again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from ghostwire._native import ipam
from ghostwire.coordinator.addresses import IpAllocator
from ghostwire.coordinator.commands import RegisterNode
from ghostwire.coordinator.credentials import PreauthKeys
from ghostwire.coordinator.decision import Decision
from ghostwire.coordinator.effects import Registered
from ghostwire.coordinator.key_exchange import KeyExchange
from ghostwire.coordinator.names import NameSeries, belongs_to, check_name, clean_facts, clean_hostname
from ghostwire.coordinator.nodes import NodeManager
from ghostwire.coordinator.reservations import Claim
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.state import State
from ghostwire.coordinator.users import UserManager
from ghostwire.errors import AuthenticationError, ConflictError, ResourceExhaustedError
from ghostwire.model.change import Put, Write
from ghostwire.model.credential import PreauthKey
from ghostwire.model.node import Node, NodeFacts
from ghostwire.model.time import SECOND

MAX_NODES: Final = 1 << 22
"""Slots; sets of nodes are indexed by them."""
EXPIRED: Final = "the node's key has expired: run `ghostwire up --key ...` with a new pre-auth key"


class Slots:
    """Which slots are taken. The lowest free one is given, so sets stay dense."""

    def __init__(self, state: State) -> None:
        self._bitmap = ipam.Bitmap(MAX_NODES)
        for slot in state.node_by_slot:
            self._bitmap.claim(slot)

    def take(self) -> int:
        """A free slot. Raises `ResourceExhaustedError`."""
        slot = self._bitmap.claim_next()
        if slot < 0:
            raise ResourceExhaustedError(f"there are {MAX_NODES} nodes: no more can be kept")
        return slot

    def keep(self, slot: int) -> None:
        """A node has this slot, whoever decided it."""
        self._bitmap.claim(slot)

    def release(self, slot: int) -> None:
        """The node with this slot is gone, or never came to be."""
        self._bitmap.release(slot)


class Registrar:
    """Decides registrations. The proof of the node key has been checked before."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        nodes: NodeManager,
        users: UserManager,
        keys: PreauthKeys,
        addresses: IpAllocator,
    ) -> None:
        self._settings = settings
        self._state = state
        self._users = users
        self._keys = keys
        self._addresses = addresses
        self._names = NameSeries(nodes.name_is_taken)
        self._last = max(state.highest_node_id(), state.id_floor("nodes"))
        self.slots = Slots(state)

    def register(
        self, command: RegisterNode, utc: int, claim: Claim, is_taken: Callable[[str, Any], bool]
    ) -> Decision | Registered:
        """Register a new machine, or a known one again: the same node key is the same node with the same address."""
        node_key = KeyExchange.node_key(command.node_key).raw
        machine_key = KeyExchange.machine_key(command.machine_key).raw
        facts = clean_facts(command.facts)
        refused = self._state.refused_keys.get(node_key)
        if refused is not None:
            raise AuthenticationError(f"this node key is refused for ever, because {refused.reason}: make a new one")
        node = self._state.node_by_key.get(node_key)
        if node is not None:
            return self._again(node, command, facts, utc, claim)
        if is_taken("node key", node_key):
            raise ConflictError("another node is rotating to this key")
        if command.preauth_key is None:
            raise AuthenticationError("this node is not known here: run `ghostwire up --key ...` with a pre-auth key")
        key = self._keys.find(command.preauth_key)
        writes = self._keys.spend(key, utc, claim)
        if key.user_id is not None:
            self._users.hold(key.user_id, claim)
        record = self._new((node_key, machine_key), key, facts, claim, utc)
        registered = Registered(node=record.id, created=True)
        return Decision("node.register", (*writes, Put("nodes", record)), lambda _: registered)

    def is_expired(self, node: Node, utc: int) -> bool:
        """Whether a node must register with a pre-auth key before it may come back."""
        return node.expired or 0 < node.key_expiry <= utc

    def _new(self, keys: tuple[bytes, bytes], key: PreauthKey, facts: NodeFacts, claim: Claim, utc: int) -> Node:
        """A node with this node key and machine key, under a name, in a slot and with addresses that are taken."""
        name = self._names.free(self._base_name(facts))
        claim.take("name", name)
        slot = self.slots.take()
        claim.undo.append(lambda: self.slots.release(slot))
        addresses = self._addresses.allocate()
        for address in addresses:
            claim.undo.append(partial(self._addresses.release, address))
        self._last += 1
        return Node(
            id=self._last,
            slot=slot,
            name=name,
            node_key=keys[0],
            machine_key=keys[1],
            ipv4=addresses[0],
            ipv6=addresses[1],
            user_id=key.user_id,
            tags=key.tags,
            ephemeral=key.ephemeral,
            created_at=utc,
            key_expiry=self._key_expiry(key, utc),
            preauth_id=key.id,
            **self._reported(facts),
        )

    def _again(
        self, node: Node, command: RegisterNode, facts: NodeFacts, utc: int, claim: Claim
    ) -> Decision | Registered:
        """Refresh what a known node says of itself; with a pre-auth key, revive it where it has expired."""
        fields: dict[str, Any] = {"machine_key": command.machine_key, **self._reported(facts)}
        writes: tuple[Write, ...] = ()
        expired = self.is_expired(node, utc)
        if command.preauth_key is not None:
            key = self._keys.find(command.preauth_key)
            if (key.user_id, key.tags) != (node.user_id, node.tags) and key.id != node.preauth_id:
                raise ConflictError("this node key belongs to a node of another owner")
            if expired or key.id != node.preauth_id:
                writes = self._keys.spend(key, utc, claim)
                fields |= {"preauth_id": key.id, "expired": False, "key_expiry": self._key_expiry(key, utc)}
        elif expired:
            raise AuthenticationError(EXPIRED)
        if facts.requested_name and not belongs_to(node.name, self._base_name(facts)):
            fields["name"] = self._names.free(self._base_name(facts))
            claim.take("name", fields["name"])
        registered = Registered(node=node.id, created=False)
        record = msgspec.structs.replace(node, **fields)
        if record == node and not writes:
            return registered
        record = msgspec.structs.replace(record, version=node.version + 1)
        return Decision("node.reregister", (*writes, Put("nodes", record, node.version)), lambda _: registered)

    def _base_name(self, facts: NodeFacts) -> str:
        if facts.requested_name:
            return check_name(facts.requested_name, self._settings.reserved_names)
        return clean_hostname(facts.hostname, self._settings.reserved_names)

    def _key_expiry(self, key: PreauthKey, utc: int) -> int:
        life = self._settings.node_expiry_s
        return utc + round(life * SECOND) if life and key.user_id is not None else 0

    @staticmethod
    def _reported(facts: NodeFacts) -> dict[str, Any]:
        return {
            "node_type": facts.node_type,
            "region": facts.region,
            "country": facts.country,
            "os": facts.os,
            "agent_version": facts.agent_version,
            "routable_routes": facts.routable_routes,
            "metadata": facts.metadata,
        }
