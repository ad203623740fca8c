"""The access policy over REST: in force, tried, put in force."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import Controller, get, post, put
from litestar.params import JSONBody

from ghostwire.coordinator.commands import ApplyPolicy
from ghostwire.errors import ResourceExhaustedError
from ghostwire.policy import Policy
from ghostwire.server.rest.access import FromCaller
from ghostwire.server.rest.desk import AtDesk
from ghostwire.server.rest.views import PolicyCheck, PolicyView

POLICY_BYTES: Final = 64 * 1024 * 1024
"""The longest policy text: 100,000 rules are about 10 MB. Other bodies are bounded far below."""


class PolicyText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy as HuJSON. A text with neither `acls` nor `grants` allows everything, and needs `allow_all`."""

    text: str
    note: str = ""
    allow_all: bool = False


class PolicyRoutes(Controller):
    """Who may reach whom."""

    path = "/policy"
    tags = ["policy"]  # noqa: RUF012 - the framework's own way to say it

    @get("/", opt={"scope": "read"}, summary="The policy in force")
    async def show(self, desk: AtDesk) -> PolicyView:
        """The policy in force."""
        return PolicyView.of(desk.view.policy())

    @put("/", opt={"scope": "admin"}, request_max_body_size=2 * POLICY_BYTES, summary="Put a policy in force")
    async def apply(self, desk: AtDesk, caller: FromCaller, data: JSONBody[PolicyText]) -> PolicyView:
        """Check a text and put it in force; answered once it is durable."""
        bounded(data.text)
        applied = await desk.ask(
            lambda op: ApplyPolicy(
                op=op,
                actor=caller.actor,
                text=data.text,
                author=caller.actor,
                note=data.note,
                allow_all=data.allow_all,
            )
        )
        return PolicyView.of(applied)

    @post(
        "/check",
        opt={"scope": "read"},
        status_code=200,
        request_max_body_size=2 * POLICY_BYTES,
        summary="Try a policy",
    )
    async def check(self, data: JSONBody[PolicyText]) -> PolicyCheck:
        """Read a text as `put` would, and change nothing."""
        bounded(data.text)
        policy = Policy.parse(data.text)
        return PolicyCheck(valid=True, allows_everything=policy.allows_everything, warnings=())


def bounded(text: str) -> None:
    """Raise `ResourceExhaustedError` for a text that is too long. JSON's escapes may double it on the way."""
    if len(text) > POLICY_BYTES:
        raise ResourceExhaustedError(f"a policy of more than {POLICY_BYTES} characters")
