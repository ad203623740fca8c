"""Pre-auth keys over REST: what lets machines register."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import JSONBody, Parameter

from ghostwire.coordinator.commands import CreatePreauthKey, RevokePreauthKey
from ghostwire.errors import NotFoundError, ValidationError
from ghostwire.model.credential import PreauthKey
from ghostwire.server.rest.access import FromCaller
from ghostwire.server.rest.desk import AtDesk, Desk
from ghostwire.server.rest.views import KeyList, KeyView, NewKey, moment

Id = Annotated[int, Parameter(ge=1, le=2**53 - 1, description="A key's id.")]
LONGEST_LIFE_S = 10 * 365 * 86_400.0


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make: for a user (made on demand) or for tags. `uses` null makes it reusable; `life_s` in seconds."""

    user: str | None = None
    tags: tuple[str, ...] = ()
    uses: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = 1
    ephemeral: bool = False
    life_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_LIFE_S)] = 3600.0


class PreauthKeys(Controller):
    """Keys with which machines join."""

    path = "/preauth-keys"
    tags = ["preauth-keys"]  # noqa: RUF012 - the framework's own way to say it

    @get("/", opt={"scope": "read"}, summary="List pre-auth keys")
    async def list(self, desk: AtDesk) -> KeyList:
        """Every key, without secrets."""
        keys = desk.view.preauth_keys()
        return KeyList(keys=[KeyView.of(key, desk.owner(key.user_id), desk.utc) for key in keys])

    @post("/", opt={"scope": "write"}, summary="Make a pre-auth key")
    async def create(self, desk: AtDesk, caller: FromCaller, data: JSONBody[KeyRequest]) -> NewKey:
        """Make a key. Its secret is in this answer and nowhere else."""
        if (data.user is None) == (not data.tags):
            raise ValidationError("a key is for a user or for tags: name exactly one of them")
        if data.tags:
            caller.need("admin", "making a tagged key")
        elif data.user is not None and not desk.has_user(data.user):
            caller.need("admin", "making a key for a user who is not there yet")
        made = await desk.ask(
            lambda op: CreatePreauthKey(
                op=op,
                actor=caller.actor,
                user=data.user,
                tags=data.tags,
                uses=data.uses,
                ephemeral=data.ephemeral,
                life_s=data.life_s,
                granted=caller.scope or "read",
            )
        )
        reporter = desk.reporter
        return NewKey(
            id=made.id,
            key=made.secret,
            expires_at=moment(made.expires_at),
            server=reporter.url.url,
            pin=reporter.pin,
            command=reporter.join_command(made.secret),
        )

    @get("/{key_id:int}", opt={"scope": "read"}, summary="Look at a pre-auth key")
    async def show(self, desk: AtDesk, key_id: Id) -> KeyView:
        """One key, without its secret."""
        key = self._find(desk, key_id)
        return KeyView.of(key, desk.owner(key.user_id), desk.utc)

    @delete("/{key_id:int}", opt={"scope": "write"}, summary="Revoke a pre-auth key")
    async def revoke(self, desk: AtDesk, caller: FromCaller, key_id: Id) -> None:
        """Revoke a key: it registers nobody any more. A tagged one needs the scope `admin`."""
        if self._find(desk, key_id).tags:
            caller.need("admin", "revoking a tagged key")
        await desk.ask(lambda op: RevokePreauthKey(op=op, actor=caller.actor, key=key_id))

    @staticmethod
    def _find(desk: Desk, key_id: int) -> PreauthKey:
        for key in desk.view.preauth_keys():
            if key.id == key_id:
                return key
        raise NotFoundError(f"there is no pre-auth key {key_id}")
