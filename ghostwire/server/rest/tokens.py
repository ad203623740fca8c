"""Operators' tokens over REST."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import JSONBody, Parameter

from ghostwire.coordinator.commands import CreateApiToken, RevokeApiToken
from ghostwire.model.credential import Scope
from ghostwire.server.rest.access import FromCaller
from ghostwire.server.rest.desk import AtDesk
from ghostwire.server.rest.views import NewToken, TokenList, TokenView, moment

Id = Annotated[int, Parameter(ge=1, le=2**53 - 1, description="A token's id.")]
LONGEST_LIFE_S = 10 * 365 * 86_400.0


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to make. `life_s` is in seconds; every token ends. Who uses it asks for access as `user`, if named."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    scope: Scope
    life_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_LIFE_S)] = 90 * 86_400.0
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] | None = None


class Tokens(Controller):
    """Tokens for this interface."""

    path = "/tokens"
    tags = ["tokens"]  # noqa: RUF012 - the framework's own way to say it

    @get("/", opt={"scope": "admin"}, summary="List tokens")
    async def list(self, desk: AtDesk) -> TokenList:
        """Every token, without secrets."""
        names = {user.id: user.name for user in desk.view.users()}
        return TokenList(tokens=[TokenView.of(token, names, desk.utc) for token in desk.view.api_tokens()])

    @post("/", opt={"scope": "admin"}, summary="Make a token")
    async def create(self, desk: AtDesk, caller: FromCaller, data: JSONBody[TokenRequest]) -> NewToken:
        """Make a token within the caller's own scope. Its secret is in this answer and nowhere else."""
        user = None if data.user is None else desk.user(data.user).id
        made = await desk.ask(
            lambda op: CreateApiToken(
                op=op,
                actor=caller.actor,
                name=data.name,
                scope=data.scope,
                granted=caller.scope or "read",
                life_s=data.life_s,
                user=user,
            )
        )
        return NewToken(id=made.id, token=made.secret, scope=data.scope, expires_at=moment(made.expires_at))

    @delete("/{token_id:int}", opt={"scope": "admin"}, summary="Revoke a token")
    async def revoke(self, desk: AtDesk, caller: FromCaller, token_id: Id) -> None:
        """Revoke a token: it opens nothing any more."""
        await desk.ask(lambda op: RevokeApiToken(op=op, actor=caller.actor, token=token_id))
