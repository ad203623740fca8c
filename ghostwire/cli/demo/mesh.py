"""The demo's network: a coordinator and three agents as real processes, each in a folder below one temporary one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ghostwire.agent.io.asking import ask
from ghostwire.cli.admin import Admin
from ghostwire.cli.demo.janitor import Janitor
from ghostwire.cli.demo.page import Page
from ghostwire.testing.processes import Child

PATIENCE_S: Final = 60.0
"""How long a step may take before the demo says that it failed; on a quiet machine each takes about a second."""
WEB_PORT: Final = 80

POLICY: Final = """\
// Alice may open the page. Bob may reach the server, but not its page.
{
  "tagOwners": { "tag:server": ["alice@"] },
  "acls": [
    { "action": "accept", "src": ["alice@"], "dst": ["tag:server:80"] },
    { "action": "accept", "src": ["bob@"],   "dst": ["tag:server:7"] },
  ],
}
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """One node: its name, and whose it is (a user or a tag)."""

    name: str
    owner: str

    @property
    def key(self) -> dict[str, object]:
        """The pre-auth key that it joins with."""
        return {"tags": [self.owner]} if self.owner.startswith("tag:") else {"user": self.owner}


NODES: Final = (Plan("laptop", "alice"), Plan("phone", "bob"), Plan("web", "tag:server"))


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent: where its state and its proxy are."""

    plan: Plan
    folder: Path
    child: Child

    @property
    def proxy(self) -> Path:
        """The Unix socket of its SOCKS5 proxy."""
        return self.folder / "proxy.sock"

    def status(self) -> dict[str, Any]:
        """What it says of itself and its peers."""
        found: dict[str, Any] = ask(self.folder, "status")
        return found

    def ping(self, peer: str, timeout_s: float) -> float | None:
        """Milliseconds to a peer through the tunnel, None without an answer."""
        answer = ask(self.folder, "ping", timeout_s + PATIENCE_S, peer=peer, timeout_s=timeout_s)
        rtt: float | None = answer["rtt_ms"]
        return rtt


class Mesh:
    """Starts everything on entry, ends and removes everything on exit; a janitor does where this process cannot."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ghostwire-demo-"))
        self.agents: dict[str, Agent] = {}
        self.url = ""
        self.pin: str | None = None
        self._tell = tell
        self._stack = ExitStack()

    @property
    def data(self) -> Path:
        """The coordinator's folder."""
        return self.folder / "server"

    def __enter__(self) -> Self:
        try:
            self._janitor = Janitor(self.folder)
            self._stack.callback(self._janitor.dismiss)
            self._stack.callback(shutil.rmtree, self.folder)
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        page = self._stack.enter_context(Page())
        self._tell("starting the coordinator")
        self.data.mkdir(mode=0o700)
        (self.data / "ghostwire.yaml").write_text(
            "# Nothing: the demo runs on defaults, whatever this machine is for.\n"
        )
        server = self._child("coordinator", ["serve", "--data", str(self.data), "--listen", "127.0.0.1:0"])
        self.admin = self._stack.enter_context(Admin.local(self.data))
        found = server.until("ready", lambda: self._ready(), PATIENCE_S)
        self.url, self.pin = found["url"], found["pin"]
        self._tell(f"{self.url} is up; applying a policy, making keys, starting three agents")
        self.admin.put("/v1/policy", {"text": POLICY, "note": "demo"})
        for user in ("alice", "bob"):
            self.admin.post("/v1/users", {"name": user})
        for plan in NODES:
            self.agents[plan.name] = self._agent(plan, page.port)
        for agent in self.agents.values():
            agent.child.until("connected", lambda agent=agent: _joined(agent), PATIENCE_S)  # type: ignore[misc]

    def _ready(self) -> dict[str, Any] | None:
        found: dict[str, Any] = self.admin.get("/v1/status")
        return found if found["ready"] else None

    def _agent(self, plan: Plan, page_port: int) -> Agent:
        folder = self.folder / plan.name
        folder.mkdir(mode=0o700)
        secret = folder / "key"
        secret.touch(mode=0o600)
        secret.write_text(self.admin.post("/v1/preauth-keys", plan.key)["key"])
        words = ["up", "--state", str(folder), "--server", self.url, "--key-file", str(secret)]
        words += ["--hostname", plan.name, "--port", "0", "--userspace", "--socks5", f"unix:{folder / 'proxy.sock'}"]
        if self.pin:
            words += ["--pin", self.pin]
        if plan.owner.startswith("tag:"):
            words += ["--expose", f"{WEB_PORT}=127.0.0.1:{page_port}"]
        return Agent(plan, folder, self._child(plan.name, words))

    def _child(self, name: str, words: list[str]) -> Child:
        settings = dict.fromkeys(variable for variable in os.environ if variable.startswith("GHOSTWIRE_"))
        child = Child.start(words, self.folder / f"{name}.log", settings, name)
        self._janitor.watch(child.pid)
        self._stack.enter_context(child)
        return child


def _joined(agent: Agent) -> bool:
    """Whether the agent holds a map from the coordinator."""
    found = agent.status()
    return bool(found["coordinator"]["connected"] and found["self"]["ipv4"])
