"""What deciding a registration and following its commit costs, without store, proof and network."""

from bench.networks import EVERYONE, Network
from ghostwire.coordinator.commands import CreatePreauthKey, LogoutNode, RegisterNode
from ghostwire.model.node import NodeFacts


class Decision:
    """One machine of a user with ten nodes registers and leaves again, in a network of 1,000."""

    gate_calls = 100
    nodes = 1_000
    each = 10
    policy: str | None = None

    def setup(self) -> None:
        self.network = Network(self.nodes, self.each, self.policy)
        user = self.network.coordinator.view.users()[0]
        self.secret = self.network.ask(CreatePreauthKey, user=user.name, uses=None, life_s=1e6).secret

    def time_register_and_leave(self) -> None:
        key = self.network.random.randbytes(31) + b"\x01"
        facts = NodeFacts(hostname="machine", os="linux", agent_version="0.1.0")
        registered = self.network.ask(RegisterNode, node_key=key, machine_key=key, facts=facts, preauth_key=self.secret)
        self.network.ask(LogoutNode, node=registered.node)


class LargeNetwork(Decision):
    """The same in a network of 10,000."""

    gate_calls = 0
    nodes = 10_000


class Everyone(Decision):
    """The same where all of 1,000 nodes see the one that comes."""

    gate_calls = 20
    policy = EVERYONE
