"""Desired against actual: whatever the map does, the tunnel ends up with exactly what the map grants now."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ghostwire.agent.plan import DropPeer, Plan, SetFilter, SetKey, SetPeer, SetSelf
from ghostwire.model.filter import FilterRule, SightEnd
from ghostwire.model.position import Position
from ghostwire.wire.messages import MapDelta, MapFull, Parts
from ghostwire.wire.netmap import Dns, Filter, NetMap, Network, Peer, Relays, SelfNode, encode_part

NUMBERS = st.integers(1, 6)
PEERS = st.builds(
    Peer,
    id=NUMBERS,
    name=st.sampled_from(["a", "b"]),
    key=st.sampled_from([bytes([n]) * 32 for n in range(4)]),
    ipv4=st.sampled_from(["100.64.0.1", "100.64.0.2", ""]),
    ipv6=st.just("fd7a::1"),
    online=st.booleans(),
    class_id=st.integers(1, 3),
)
RULES = st.lists(st.builds(FilterRule, same_owner=st.booleans(), until=st.sampled_from([0, 7, 80])), max_size=2)
ENDS = st.lists(st.sampled_from([0, 50, 100, 150]), min_size=3, max_size=3).map(
    lambda times: [
        SightEnd(classes=(1,), until=times[0]),
        SightEnd(classes=(2,), nodes=(1, 2), until=times[1]),
        SightEnd(nodes=(3,), until=times[2]),
    ]
)
FILTERS = st.builds(Filter, rules=RULES.map(tuple), ends=st.one_of(st.just(()), ENDS.map(tuple)))


class PlanMachine(RuleBasedStateMachine):
    """The tunnel here is a dict that does as it is told."""

    @initialize(peers=st.lists(PEERS, max_size=4), rules=FILTERS)
    def begin(self, peers: list[Peer], rules: Filter) -> None:
        self.netmap, self.plan = NetMap(), Plan()
        self.utc, self.seq, self.halted, self.domain = 10, 0, False, "mesh"
        self.private = b"k" * 32
        self.told: dict[int, SetPeer] = {}
        self.key = b""
        self.filter: tuple[FilterRule, ...] | None = None
        self.own: SelfNode | None = None
        self.full(peers, rules)

    def position(self) -> Position:
        self.seq += 1
        return Position(b"l", self.seq, b"b", 0)

    @rule(peers=st.lists(PEERS, max_size=4), rules=FILTERS)
    def full(self, peers: list[Peer], rules: Filter) -> None:
        parts = Parts(
            self=encode_part(SelfNode(id=9, name="self", key=b"s" * 32, ipv4="100.64.0.9", ipv6="")),
            filter=encode_part(rules),
            dns=encode_part(Dns()),
            relays=encode_part(Relays()),
            network=self.network(),
            peers={peer.id: encode_part(peer) for peer in peers},
        )
        self.netmap.apply_page(MapFull(page=0, parts=parts, last=True, position=self.position()))
        self.tune()

    def network(self) -> bytes:
        return encode_part(Network(id="n", domain=self.domain, max_age_s=1.0, heartbeat_s=1.0))

    @rule(peers=st.lists(PEERS, max_size=2), gone=st.lists(NUMBERS, max_size=2))
    def delta(self, peers: list[Peer], gone: list[int]) -> None:
        parts = Parts(peers={peer.id: encode_part(peer) for peer in peers})
        self.netmap.apply_delta(MapDelta(position=self.position(), parts=parts, gone=tuple(gone)))
        if not self.plan.cuts(self.netmap):
            assert set(self.told) <= set(self.netmap.peers)
        self.tune()

    @rule(rules=FILTERS)
    def filtering(self, rules: Filter) -> None:
        self.netmap.apply_delta(MapDelta(position=self.position(), parts=Parts(filter=encode_part(rules))))
        self.tune()

    @rule(domain=st.sampled_from(["mesh", "other", ""]))
    def renaming(self, domain: str) -> None:
        self.domain = domain
        self.netmap.apply_delta(MapDelta(position=self.position(), parts=Parts(network=self.network())))
        self.tune()

    @rule(step=st.integers(1, 60))
    def time(self, step: int) -> None:
        self.utc += step
        self.tune()

    @rule(halted=st.booleans())
    def halting(self, halted: bool) -> None:
        self.halted = halted
        self.tune()

    @rule(letter=st.sampled_from([b"k", b"m"]))
    def rotating(self, letter: bytes) -> None:
        self.private = letter * 32
        self.tune()

    def tune(self) -> None:
        for step in self.plan.steps(self.netmap, self.private, self.utc, self.halted):
            if isinstance(step, SetPeer):
                self.told[step.peer.id] = step
            elif isinstance(step, DropPeer):
                del self.told[step.id]
            elif isinstance(step, SetKey):
                self.key = step.private
            elif isinstance(step, SetFilter):
                self.filter = step.rules
            elif isinstance(step, SetSelf):
                self.own = step.node
        # Told once, nothing is left to tell.
        assert self.plan.steps(self.netmap, self.private, self.utc, self.halted) == ()

    @invariant()
    def the_tunnel_is_what_the_map_grants(self) -> None:
        if not hasattr(self, "netmap"):
            return
        rules = self.netmap.filter()
        granted = {
            peer.id: SetPeer(peer, self.domain, until)
            for peer in self.netmap.all_peers()
            if not self.halted and ((until := end(rules.ends, peer)) == 0 or until > self.utc)
        }
        assert self.told == granted
        assert self.key == self.private
        if self.halted:
            return
        assert self.filter == rules.rules
        assert self.own == self.netmap.own()
        ends = [peer.until for peer in granted.values()] + [rule.until for rule in rules.rules]
        assert self.plan.next_end(self.utc) == min((end for end in ends if end > self.utc), default=0)


def end(ends: tuple[SightEnd, ...], peer: Peer) -> int:
    """What is said of a node counts before what is said of its class."""
    own = [told.until for told in ends if peer.id in told.nodes]
    return (own or [told.until for told in ends if peer.class_id in told.classes] or [0])[0]


TestPlan = PlanMachine.TestCase
