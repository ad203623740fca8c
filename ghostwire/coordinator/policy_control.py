"""The policy in force: what another one, or a change of the users it names, does to maps."""

from __future__ import annotations

from collections.abc import Callable

from pyroaring import BitMap

from ghostwire.coordinator.change_window import ChangeWindow
from ghostwire.coordinator.decision import Decision, answers_nothing
from ghostwire.coordinator.network_mapper import LARGEST_DELTA, NetworkMapper
from ghostwire.coordinator.state import State
from ghostwire.coordinator.views import BINDINGS, Views, bindings_of, bindings_value
from ghostwire.model.node import Node
from ghostwire.wire.messages import Parts


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

    def policy_changed(self) -> None:
        """The policy in force is another: tell everyone whose map it changes, whatever has been lost first."""
        edited = self._views.edit()
        if edited is not None:
            self._tell_whole(edited)
            return
        present = [self._state.node_by_slot[slot] for slot in self._views.slots]
        before = {node.slot: self._sight(node) for node in present}
        self._views.rebind()
        changed = BitMap(node.slot for node in present if self._mapper.refresh(node))
        affected = BitMap()
        pending: list[tuple[Node, BitMap, bytes, bytes]] = []
        for node in present:
            seen, own, rules = before[node.slot]
            now_seen, now_own, now_rules = self._sight(node)
            if now_seen != seen or now_own != own or now_rules != rules or now_seen.intersect(changed):
                affected.add(node.slot)
                if self._is_live(node):
                    pending.append((node, seen, now_own, now_rules))
        if not affected:
            return
        self._window.add(self._mapper.position, (), (), affected)
        for node, seen, own, rules in pending:
            self._tell(node, seen, changed, own, rules)

    def users_changed(self, *, nodeless: bool) -> BitMap:
        """The users are others: whose maps changed. Those with a session are sent them whole.

        `nodeless` says that a user came or went who has no nodes, which costs no look at each node.
        """
        if nodeless:
            if self._views.know_users():
                return BitMap()
            self._views.rebind()
            return self._tell_whole(BitMap(self._views.slots))
        return self._tell_whole(self._views.set_users())

    def windows_turned(self) -> BitMap:
        """Time has moved on for the policy: whose maps changed. Those with a session are sent them whole."""
        return self._tell_whole(self._views.turn())

    def access_changed(self) -> BitMap:
        """Access stands that did not, or the other way round: whose maps changed, told like that."""
        return self._tell_whole(self._views.follow_access())

    def _tell_whole(self, affected: BitMap) -> BitMap:
        """Remember, and send whole, the maps of these nodes and of those who see one that shows another class now."""
        affected &= self._views.slots
        for slot in tuple(affected):
            if self._mapper.refresh(self._state.node_by_slot[slot]):
                affected |= self._views.visible(slot)
        if affected:
            self._window.add(self._mapper.position, (), (), affected)
        for slot in affected:
            node = self._state.node_by_slot[slot]
            if self._is_live(node):
                self._send_whole(node)
        return affected

    def _sight(self, node: Node) -> tuple[BitMap, bytes, bytes]:
        own = self._mapper.own_parts(node)
        return self._views.visible(node.slot), own["self"], own["filter"]

    def _tell(self, node: Node, seen: BitMap, changed: BitMap, own: bytes, rules: bytes) -> None:
        now_seen = self._views.visible(node.slot)
        shown = (now_seen - seen) | (now_seen & changed)
        lost = seen - now_seen
        if len(shown) + len(lost) > LARGEST_DELTA:
            self._send_whole(node)
            return
        owners = self._mapper.owners(node, now_seen)
        self._mapper.push(
            BitMap([node.slot]),
            Parts(
                self=own,
                filter=rules,
                peers=self._mapper.fragments.of(shown),
                profiles={user: self._mapper.profiles.part(user) for user in sorted(owners)},
            ),
            tuple(sorted(self._state.node_by_slot[slot].id for slot in lost)),
            tuple(sorted(self._mapper.owners(node, seen) - owners)),
        )
