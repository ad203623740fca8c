"""The slow twin of the coordinator's maps: one node's whole map, from tables and policy alone, with nothing kept."""

from collections.abc import Iterable, Mapping

import msgspec
from pyroaring import BitMap

from ghostwire.model.filter import FilterRule
from ghostwire.model.node import Node
from ghostwire.model.user import User
from ghostwire.policy import AccessGrant, Engine, NodeFacts, Policy, UserFacts, default_policy
from ghostwire.wire.netmap import Peer, Profile, SelfNode


class Shown(msgspec.Struct, frozen=True):
    """What is volatile of a node, as it stands."""

    online: bool
    endpoints: tuple[str, ...]


class ReferenceMaps:
    def __init__(
        self,
        nodes: Mapping[int, Node],
        users: Mapping[int, User],
        policy_text: str | None,
        shown: Mapping[int, Shown],
        pools: tuple[str, ...],
        bindings: Mapping[str, int],
        at: int = 0,
        access: Iterable[AccessGrant] = (),
    ) -> None:
        self.nodes = {node.id: node for node in nodes.values() if not node.expired}
        self.users = users
        self.shown = shown
        policy = Policy.parse(policy_text) if policy_text else default_policy()
        people = [UserFacts(id=u.id, name=u.name, email=u.email, role=u.role) for u in users.values()]
        devices = [self._facts(n) for n in self.nodes.values()]
        self.engine = Engine.build(policy, people, devices, pools, bindings, at=at)
        self.engine.set_access(list(access))
        self.number: dict[int, int] = {}
        self.numbers: dict[int, set[int]] = {}

    def learn_numbers(self, known: Mapping[int, int]) -> None:
        """Take the numbers that nodes have in maps (by id). One number must mean nodes of one class."""
        home: dict[int, int] = {}
        for node_id, number in known.items():
            own = self.engine.class_of(self.nodes[node_id].slot)
            assert home.setdefault(number, own) == own, "two classes have one number"
            self.numbers.setdefault(own, set()).add(number)
            self.number[node_id] = number

    def peers(self, viewer: int) -> dict[int, Peer]:
        visible: BitMap = self.engine.visible(self.nodes[viewer].slot)
        found = {}
        for node in self.nodes.values():
            if node.slot in visible:
                shown = self.shown.get(node.id, Shown(online=False, endpoints=()))
                found[node.id] = Peer(
                    id=node.id,
                    name=node.name,
                    key=node.node_key,
                    ipv4=node.ipv4,
                    ipv6=node.ipv6,
                    class_id=self.number[node.id],
                    owner=node.user_id or 0,
                    tags=node.tags,
                    online=shown.online,
                    endpoints=shown.endpoints,
                    routes=tuple(r for r in node.approved_routes if r in node.routable_routes),
                    node_type=node.node_type,
                )
        return found

    def own(self, viewer: int) -> SelfNode:
        node = self.nodes[viewer]
        return SelfNode(
            id=node.id,
            name=node.name,
            key=node.node_key,
            ipv4=node.ipv4,
            ipv6=node.ipv6,
            class_id=self.number[node.id],
            owner=node.user_id or 0,
            tags=node.tags,
            routes=tuple(r for r in node.approved_routes if r in node.routable_routes),
            key_expiry=node.key_expiry,
        )

    def rules(self, viewer: int) -> tuple[FilterRule, ...]:
        """The order in which a rule names its sources means nothing, nor do classes that nobody is in."""
        found = []
        for rule in self.engine.native_filter(self.nodes[viewer].slot):
            classes = tuple(sorted(number for c in rule.classes for number in self.numbers.get(c, ())))
            if classes or rule.same_owner or rule.prefixes:
                found.append(msgspec.structs.replace(rule, classes=classes, prefixes=tuple(sorted(set(rule.prefixes)))))
        return tuple(found)

    def ends(self, viewer: int) -> dict[int, int]:
        """Until when the viewer sees each of its peers."""
        found = self.engine.sight_ends(self.nodes[viewer].slot)
        slots = {peer: self.nodes[peer].slot for peer in self.peers(viewer)}
        return {peer: found.of(self.engine.class_of(slot), slot) for peer, slot in slots.items()}

    def profiles(self, viewer: int) -> dict[int, Profile]:
        owners = {peer.owner for peer in self.peers(viewer).values()} | {self.own(viewer).owner}
        return {
            owner: Profile(id=owner, display_name=self.users[owner].display_name or self.users[owner].name)
            for owner in owners - {0}
        }

    @staticmethod
    def _facts(node: Node) -> NodeFacts:
        return NodeFacts(
            id=node.slot,
            user=node.user_id,
            tags=node.tags,
            addresses=(node.ipv4, node.ipv6),
            routes=tuple(r for r in node.approved_routes if r in node.routable_routes),
            os=node.os,
            version=node.agent_version,
            country=node.country,
            region=node.region,
        )
