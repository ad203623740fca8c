"""The policy in force: what another one, or a change of the users it names, does to maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pyroaring import BitMap

from ghostwire.coordinator.change_window import ChangeWindow
from ghostwire.coordinator.decision import Decision, answers_nothing
from ghostwire.coordinator.maps import LARGEST_DELTA
from ghostwire.coordinator.network_mapper import NetworkMapper
from ghostwire.coordinator.outlook import Sights
from ghostwire.coordinator.state import State
from ghostwire.coordinator.views import BINDINGS, Views, bindings_of, bindings_value
from ghostwire.model.access import AccessRequest
from ghostwire.model.node import Node
from ghostwire.policy import Engine, Policy
from ghostwire.wire.messages import Parts

MOST_TOLD: Final = 2_048
"""Nodes that are told one by one what another policy changes, in a millisecond or two each.

Where there are replicas, the maps of more than these are left to them, as a whole.
"""


class _News(NamedTuple):
    """What a change is to a node: its own parts, slots that it sees anew or no more, owners likewise."""

    own: bytes | None
    rules: bytes
    shown: tuple[int, ...]
    lost: tuple[int, ...]
    came: tuple[int, ...]
    went: tuple[int, ...]


class PolicyControl:
    """Carries changes of the policy in force to the maps. `send_whole` sends a live node its whole map."""

    def __init__(
        self,
        state: State,
        views: Views,
        mapper: NetworkMapper,
        window: ChangeWindow,
        is_live: Callable[[Node], bool],
        send_whole: Callable[[Node], None],
    ) -> None:
        self._state = state
        self._views = views
        self._mapper = mapper
        self._window = window
        self._is_live = is_live
        self._send_whole = send_whole
        self._bound_at = -1

    def bindings_moved(self) -> bool:
        """Whether names of the policy mean users that is not durable yet. Quick unless the users have changed."""
        if self._bound_at != self._views.bound:
            self._bound_at = self._views.bound
            return self._views.bindings != bindings_of(self._state)
        return False

    def look_at_bindings_again(self) -> None:
        """They could not be made durable: the next change looks at them again."""
        self._bound_at = -1

    def note_bindings(self) -> Decision | None:
        """Make durable which user each name of the policy means."""
        bindings = self._views.bindings
        if bindings == bindings_of(self._state):
            return None
        number = 0 if self._state.policy is None else self._state.policy.number
        write = self._state.setting(BINDINGS, bindings_value(number, bindings))
        return Decision("policy.bind", (write,), answers_nothing)

    def policy_changed(self) -> BitMap:
        """The policy in force is another: whose maps changed. Those with a session are told, losses first."""
        edited = self._views.edited()
        return self._exchange() if edited is None else self._edit(edited)

    def _edit(self, policy: Policy) -> BitMap:
        """Few of its rules are others: a look at those whom they may concern, and at the ends of approved access."""
        among = self._views.concerned(policy)
        for request in self._state.approved.values():
            among |= self._ends(request)
        return self._follow(lambda: self._views.edit(policy), among)

    def _exchange(self) -> BitMap:
        """It is another altogether: whose maps that changes is known of all but those of whom it was not foreseen."""
        by_slot, left, outlook = self._state.node_by_slot, self._views.engine, self._views.outlook
        affected, unsure = (slots & self._views.slots for slots in self._views.rebind())
        changed = BitMap(slot for slot in affected | unsure if self._mapper.refresh(by_slot[slot]))
        affected = (affected - unsure) | changed | self._views.sights(changed & unsure).everyone()
        affected &= self._views.slots
        doubtful = unsure - affected
        before, after = Sights(left, doubtful), self._views.sights(doubtful)
        for slot in doubtful:
            if before.of(slot) != after.of(slot) or outlook.part(slot) != self._views.outlook.part(slot):
                affected.add(slot)
        self._views.journal.moved(affected, everyone=True)
        if affected:
            self._window.add(self._mapper.position, (), (), affected)
            self._tell_of(left, affected, changed)
        return affected

    def _tell_of(self, left: Engine, affected: BitMap, changed: BitMap) -> None:
        """Tell those whose maps are others since this engine gave way."""
        by_slot = self._state.node_by_slot
        live = [slot for slot in affected if self._is_live(by_slot[slot])]
        if self._mapper.defers and len(live) > MOST_TOLD:
            for slot in live:
                self._send_whole(by_slot[slot])
            return
        seen = Sights(left, live)
        self._tell({slot: seen.of(slot) for slot in live}, changed)

    def users_changed(self, *, nodeless: bool) -> BitMap:
        """The users are others: whose maps changed. Those with a session are told.

        `nodeless` says that a user came or went who has no nodes, which costs no look at each node.
        """
        if nodeless:
            # A name that meant two users means the one who is left: so seldom that all are sent their whole maps then.
            moved = self._views.set_users()
            return self._tell_whole(BitMap(self._views.slots)) if moved else moved
        return self._follow(self._views.set_users)

    def windows_turned(self) -> BitMap:
        """Time has moved on for the policy: whose maps changed. Those with a session are told."""
        return self._follow(self._views.turn)

    def access_changed(self, request: AccessRequest) -> BitMap:
        """Access stands that did not, or the other way round: whose maps changed. Those with a session are told."""
        return self._follow(self._views.follow_access, self._ends(request))

    def _ends(self, request: AccessRequest) -> BitMap:
        """Who may see each other by access that is asked for: its user's devices and its target."""
        target = self._state.nodes.get(request.target)
        ends = [*self._state.nodes_of.get(request.user_id, {}).values(), *([] if target is None else [target])]
        return BitMap(node.slot for node in ends) & self._views.slots

    def _follow(self, change: Callable[[], BitMap], among: BitMap | None = None) -> BitMap:
        """Make a change that answers whose peers, filter or class may be others, and tell them.

        Those who see a node that shows another class now are told too. Where it is known beforehand among whom peers
        may be gained and lost, `among` spares a look at everybody else.
        """
        by_slot = self._state.node_by_slot
        looked_at = self._views.slots if among is None else among
        seen = self._views.sights(slot for slot in looked_at if self._is_live(by_slot[slot]))
        affected = change() & self._views.slots
        changed = BitMap(slot for slot in affected if self._mapper.refresh(by_slot[slot]))
        moved = BitMap(affected)
        for slot in changed:
            affected |= self._views.visible(slot)
        if affected:
            self._remember(moved, affected)
        live = (slot for slot in affected if self._is_live(by_slot[slot]))
        told = {slot: seen.of(slot) if slot in seen else self._views.visible(slot) for slot in live}
        self._tell(told, changed)
        return affected

    def _remember(self, moved: BitMap, affected: BitMap) -> None:
        """Keep for those who come back which nodes moved for the affected, unless these are many: then all of it."""
        nodes = [self._state.node_by_slot[slot] for slot in moved] if len(moved) <= LARGEST_DELTA else []
        owners = {node.user_id for node in nodes if node.user_id is not None}
        self._window.add(self._mapper.position, tuple(node.id for node in nodes), tuple(sorted(owners)), affected)

    def _tell_whole(self, affected: BitMap) -> BitMap:
        """Remember the maps of these nodes, and send them whole."""
        for slot in affected:
            self._mapper.refresh(self._state.node_by_slot[slot])
        self._window.add(self._mapper.position, (), (), affected)
        for slot in affected:
            node = self._state.node_by_slot[slot]
            if self._is_live(node):
                self._send_whole(node)
        return affected

    def _tell(self, seen: Mapping[int, BitMap], changed: BitMap) -> None:
        """Tell these slots, who saw those peers, what they see now: one message for all whom the same is news to."""
        news: dict[_News, BitMap] = {}
        for slot, was_seen in seen.items():
            node = self._state.node_by_slot[slot]
            if not self._is_live(node):
                continue
            now_seen = self._views.visible(slot)
            shown = (now_seen - was_seen) | (now_seen & changed)
            lost = was_seen - now_seen
            if len(shown) + len(lost) > LARGEST_DELTA:
                self._send_whole(node)
                continue
            known, owners = self._mapper.maps.owners(slot, was_seen), self._mapper.maps.owners(slot, now_seen)
            own = self._mapper.own_parts(slot)
            told = _News(
                own=own["self"] if slot in changed else None,
                rules=own["filter"],
                shown=tuple(shown),
                lost=tuple(lost),
                came=tuple(sorted(owners - known)),
                went=tuple(sorted(known - owners)),
            )
            news.setdefault(told, BitMap()).add(slot)
        for told, slots in news.items():
            self._push(told, slots)

    def _push(self, told: _News, slots: BitMap) -> None:
        parts = Parts(
            self=told.own,
            filter=told.rules,
            peers=self._mapper.fragments.of(BitMap(told.shown)),
            profiles={user: self._mapper.profiles.part(user) for user in told.came},
        )
        gone = tuple(sorted(self._state.node_by_slot[slot].id for slot in told.lost))
        self._mapper.push(slots, parts, gone, told.went)
