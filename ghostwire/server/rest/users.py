"""Users over REST."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, delete, get, patch, post
from litestar.params import JSONBody, Parameter

from ghostwire.coordinator.commands import CreateUser, DeleteUser, SetUserRole
from ghostwire.model.user import Role
from ghostwire.server.rest.access import FromCaller
from ghostwire.server.rest.desk import AtDesk
from ghostwire.server.rest.views import UserList, UserView

UserRef = Annotated[str, Parameter(description="A user's id or name.", max_length=253)]


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to create."""

    name: str
    display_name: str = ""
    email: str = ""
    role: Role = "member"


class UserChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a user."""

    role: Role


class Users(Controller):
    """Who owns nodes."""

    path = "/users"
    tags = ["users"]  # noqa: RUF012 - the framework's own way to say it

    @get("/", opt={"scope": "read"}, summary="List users")
    async def list(self, desk: AtDesk) -> UserList:
        """Every user."""
        view = desk.view
        return UserList(users=[UserView.of(user, len(view.nodes_of(user.id))) for user in view.users()])

    @get("/{user:str}", opt={"scope": "read"}, summary="Look at a user")
    async def show(self, desk: AtDesk, user: UserRef) -> UserView:
        """One user."""
        found = desk.user(user)
        return UserView.of(found, len(desk.view.nodes_of(found.id)))

    @post("/", opt={"scope": "admin"}, summary="Create a user")
    async def create(self, desk: AtDesk, caller: FromCaller, data: JSONBody[NewUser]) -> UserView:
        """Create a user."""
        user = await desk.ask(
            lambda op: CreateUser(
                op=op,
                actor=caller.actor,
                name=data.name,
                display_name=data.display_name,
                email=data.email,
                role=data.role,
            )
        )
        return UserView.of(user, 0)

    @patch("/{user:str}", opt={"scope": "admin"}, summary="Change a user's role")
    async def change(self, desk: AtDesk, caller: FromCaller, user: UserRef, data: JSONBody[UserChange]) -> UserView:
        """Change a user's role."""
        found = desk.user(user)
        changed = await desk.ask(lambda op: SetUserRole(op=op, actor=caller.actor, user=found.id, role=data.role))
        return UserView.of(changed, len(desk.view.nodes_of(found.id)))

    @delete("/{user:str}", opt={"scope": "admin"}, summary="Delete a user")
    async def remove(self, desk: AtDesk, caller: FromCaller, user: UserRef) -> None:
        """Delete a user who owns no node."""
        found = desk.user(user)
        await desk.ask(lambda op: DeleteUser(op=op, actor=caller.actor, user=found.id))
