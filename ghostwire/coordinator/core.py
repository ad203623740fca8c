"""The coordinator's parts, wired: what they share and how they start from a snapshot."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ghostwire.coordinator.access import AccessDesk
from ghostwire.coordinator.addresses import IpAllocator
from ghostwire.coordinator.agenda import Agenda, Due
from ghostwire.coordinator.change_window import ChangeWindow
from ghostwire.coordinator.counters import Counters
from ghostwire.coordinator.credentials import ApiTokens, PreauthKeys
from ghostwire.coordinator.effects import CloseSession, Effect, Send
from ghostwire.coordinator.flow_ledger import FlowLedger
from ghostwire.coordinator.liveness import HeartbeatMonitor
from ghostwire.coordinator.map_changes import MapChanges
from ghostwire.coordinator.network_mapper import NetworkMapper
from ghostwire.coordinator.nodes import NodeManager
from ghostwire.coordinator.policy_control import PolicyControl
from ghostwire.coordinator.policy_versions import PolicyVersions
from ghostwire.coordinator.registration import Registrar
from ghostwire.coordinator.reservations import Reservations
from ghostwire.coordinator.rule_hits import HitLedger
from ghostwire.coordinator.sessions import SessionManager
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.snapshot import Snapshot
from ghostwire.coordinator.state import State
from ghostwire.coordinator.users import UserManager
from ghostwire.coordinator.views import Views
from ghostwire.coordinator.volatile import VolatileStream
from ghostwire.coordinator.windows import Windows
from ghostwire.model.node import Node
from ghostwire.model.position import Position
from ghostwire.model.time import Now

HIGHEST_TIME = "highest_time"
"""The setting that keeps the highest time seen, in UTC nanoseconds, big-endian."""


@dataclass(slots=True)
class Core:
    """Everything that the coordinator's acts work on."""

    settings: Settings
    state: State
    agenda: Agenda
    reservations: Reservations
    counters: Counters
    liveness: HeartbeatMonitor
    sessions: SessionManager
    users: UserManager
    preauth_keys: PreauthKeys
    api_tokens: ApiTokens
    addresses: IpAllocator
    nodes: NodeManager
    registrar: Registrar
    views: Views
    window: ChangeWindow
    mapper: NetworkMapper
    changes: MapChanges
    policies: PolicyControl
    versions: PolicyVersions
    access: AccessDesk
    windows: Windows
    hits: HitLedger
    flows: FlowLedger
    volatile: VolatileStream
    effects: deque[Effect]
    now: Now

    @classmethod
    def load(cls, settings: Settings, snapshot: Snapshot, entropy: Callable[[int], bytes], now: Now) -> Core:
        """The parts as they stand at a snapshot, before its volatile facts."""
        state = State.load(snapshot.tables, snapshot.seq)
        agenda = Agenda(now)
        reservations = Reservations()
        effects: deque[Effect] = deque()
        liveness = HeartbeatMonitor(settings, agenda)
        sessions = SessionManager(settings, state, snapshot.mac_key, entropy, now.utc)
        users = UserManager(state, reservations)
        keys = PreauthKeys.open(state, reservations, users, snapshot.mac_key, entropy)
        addresses = IpAllocator(settings, entropy)
        nodes = NodeManager(settings, state, reservations, sessions)
        views = Views(state, addresses.prefixes)
        window = ChangeWindow(snapshot.log_id, snapshot.boot, settings.window)
        counters = Counters()
        hits = HitLedger()
        access = AccessDesk(state, views)
        mapper = NetworkMapper(state, views, liveness, window, counters, effects.append)

        def is_live(node: Node) -> bool:
            return sessions.live(node.id) is not None

        def send_whole(node: Node) -> None:
            session = sessions.live(node.id)
            if session is not None:
                frames, left = mapper.renew(node)
                effects.append(Send(node=node.id, session=session, frames=frames, left=left, waits=True))

        return cls(
            settings=settings,
            state=state,
            agenda=agenda,
            reservations=reservations,
            counters=counters,
            liveness=liveness,
            sessions=sessions,
            users=users,
            preauth_keys=keys,
            api_tokens=ApiTokens(state, snapshot.mac_key, entropy),
            addresses=addresses,
            nodes=nodes,
            registrar=Registrar(settings, state, nodes, users, keys, addresses),
            views=views,
            window=window,
            mapper=mapper,
            changes=MapChanges(mapper, views, window),
            policies=PolicyControl(state, views, mapper, window, is_live, send_whole),
            versions=PolicyVersions(state, views),
            access=access,
            windows=Windows(state, views, access),
            hits=hits,
            flows=FlowLedger(),
            volatile=VolatileStream(state, views, liveness, window, agenda, hits),
            effects=effects,
            now=now,
        )

    def moved(self) -> None:
        """Name the position at which the state and the volatile stream stand now in every frame from here on."""
        self.mapper.position = Position(
            log=self.mapper.position.log,
            seq=self.state.seq,
            boot=self.mapper.position.boot,
            vseq=self.volatile.vseq,
        )

    def flush(self, now: Now) -> None:
        """Have everything written that is volatile and was not yet."""
        self.effects.append(self.volatile.flush(self.mapper.position, now.utc, self.flows.take_fresh()))

    def arm_window(self, now: Now) -> None:
        """A window that is open ends in its time."""
        pacer = self.mapper.pacer
        if pacer.is_open and not self.agenda.is_set(Due.WINDOW, 0):
            self.agenda.set(Due.WINDOW, 0, now.mono + pacer.length_s)

    def presence_changed(self, node: Node, now: Now) -> None:
        """Peers may see another presence of this node: the next volatile change."""
        self.volatile.step()
        self.moved()
        self.mapper.presence_changed(node)
        self.volatile.note(node.id, now, self.settings.flush_s)

    def presence_turned(self, node: Node, now: Now) -> None:
        """The node has come or is gone: peers see it, and whoever watches is told."""
        self.presence_changed(node, now)
        self.counters.observer.presence(node, "online" if self.liveness.get(node.id).online else "offline")

    def await_turn(self, now: Now) -> None:
        """Look when the next window of the policy opens or closes."""
        turn = self.windows.next_turn()
        if turn:
            self.agenda.set_utc(Due.TURN, 0, turn, now)
        else:
            self.agenda.cancel(Due.TURN, 0)

    def close_session(self, node: int, code: str, reason: str) -> None:
        """End a node's live session, if it has one."""
        session = self.sessions.close(node)
        if session is not None:
            self.effects.append(CloseSession(node=node, session=session, code=code, reason=reason))
