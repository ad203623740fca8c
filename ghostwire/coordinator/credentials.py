"""Pre-auth keys and operators' tokens: minted here, shown once, kept as keyed BLAKE3 MACs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ghostwire._native import token
from ghostwire.coordinator.commands import CreateApiToken, CreatePreauthKey, RevokeApiToken, RevokePreauthKey
from ghostwire.coordinator.decision import Decision, answers_nothing
from ghostwire.coordinator.effects import KeyCreated, TokenCreated
from ghostwire.coordinator.names import check_tags, printable
from ghostwire.coordinator.reservations import Claim, Reservations
from ghostwire.coordinator.state import State
from ghostwire.coordinator.users import UserManager
from ghostwire.errors import AuthenticationError, NotFoundError, PermissionDeniedError, ValidationError
from ghostwire.model.change import Put, Write
from ghostwire.model.credential import ApiToken, PreauthKey, Scope
from ghostwire.model.time import SECOND
from ghostwire.wire.keys import equal

RANK: Final[dict[Scope, int]] = {"read": 0, "write": 1, "admin": 2}
LONGEST_S: Final = 10 * 365 * 86_400.0
_PREAUTH: Final = ("gwk_", "ghostwire v1 pre-auth key")
_API: Final = ("gwt_", "ghostwire v1 api token")


class Secrets:
    """Secrets of one kind: a prefix that scanners can find, and a MAC key that no other kind shares."""

    def __init__(self, kind: tuple[str, str], mac_key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._prefix, context = kind
        self._key = token.derive_key(context, mac_key)
        self._entropy = entropy

    def mint(self) -> tuple[str, bytes]:
        """A fresh secret's text and its MAC."""
        raw = self._entropy(32)
        return self._prefix + token.encode(raw), token.keyed_blake3(self._key, raw)

    def mac(self, text: str) -> bytes:
        """The MAC of a secret as it was shown. Raises `AuthenticationError` for what can't be one."""
        if not text.startswith(self._prefix):
            raise AuthenticationError(f"that is no secret of this kind: they begin with {self._prefix}")
        return token.keyed_blake3(self._key, token.decode(text[len(self._prefix) :]))


class PreauthKeys:
    """Keys that let machines register."""

    def __init__(
        self,
        state: State,
        reservations: Reservations,
        users: UserManager,
        secrets: Secrets,
    ) -> None:
        self._state = state
        self._reservations = reservations
        self._users = users
        self._secrets = secrets
        # Nodes remember which key they came with, so a number never stands for another one.
        self._last = max(max(state.preauth_keys, default=0), state.id_floor("preauth_keys"))

    @classmethod
    def open(
        cls,
        state: State,
        reservations: Reservations,
        users: UserManager,
        mac_key: bytes,
        entropy: Callable[[int], bytes],
    ) -> PreauthKeys:
        """The manager whose secrets are drawn from `entropy`."""
        return cls(state, reservations, users, Secrets(_PREAUTH, mac_key, entropy))

    def create(self, command: CreatePreauthKey, utc: int, claim: Claim) -> Decision:
        """Make a key, and its user where there is none yet."""
        if (command.user is None) == (not command.tags):
            raise ValidationError("a pre-auth key is for a user or for tags, and for one of them only")
        if command.uses is not None and not 1 <= command.uses <= 1_000_000:
            raise ValidationError("a pre-auth key has 1 to 1000000 uses, or is reusable")
        needed: Scope = "admin" if command.tags else "write"
        if RANK[command.granted] < RANK[needed]:
            raise PermissionDeniedError(
                f"a pre-auth key for {'tags' if command.tags else 'a user'} needs scope {needed}"
            )
        end = utc + check_life(command.life_s)
        writes: tuple[Write, ...] = ()
        user_id = None
        if command.user is not None:
            user_id, writes = self._users.on_demand(command.user, claim, utc)
            if writes and RANK[command.granted] < RANK["admin"]:
                raise PermissionDeniedError("a pre-auth key for a user who is not there yet needs scope admin")
        secret, mac = self._secrets.mint()
        self._last += 1
        record = PreauthKey(
            id=self._last,
            mac=mac,
            user_id=user_id,
            tags=check_tags(command.tags),
            uses_left=command.uses,
            ephemeral=command.ephemeral,
            created_at=utc,
            created_by=command.actor,
            expires_at=end,
        )
        created = KeyCreated(id=record.id, secret=secret, expires_at=end)
        return Decision("preauth_key.create", (*writes, Put("preauth_keys", record)), lambda _: created)

    def revoke(self, command: RevokePreauthKey, utc: int, claim: Claim) -> Decision | None:
        """End a key, after whatever is in flight; None when it was ended before."""
        committed = self._state.preauth_keys.get(command.key)
        if committed is None:
            raise NotFoundError(f"there is no pre-auth key {command.key}")
        if committed.revoked:
            return None
        latest: PreauthKey = self._reservations.latest("preauth_keys", committed.id, committed)
        record = msgspec.structs.replace(
            latest, revoked=True, ended_at=latest.ended_at or utc, version=latest.version + 1
        )
        claim.foresee("preauth_keys", record.id, record)
        return Decision("preauth_key.revoke", (Put("preauth_keys", record, latest.version),), answers_nothing)

    def find(self, secret: str) -> PreauthKey:
        """The key with this secret, as it will stand. Raises `AuthenticationError`."""
        mac = self._secrets.mac(secret)
        found = self._state.preauth_by_mac.get(mac)
        if found is None or not equal(found.mac, mac):
            raise AuthenticationError("the pre-auth key is not known: make one with `ghostwire key create`")
        latest: PreauthKey = self._reservations.latest("preauth_keys", found.id, found)
        return latest

    def spend(self, key: PreauthKey, utc: int, claim: Claim) -> tuple[Write, ...]:
        """The write that uses a key once, in one conditional change of its row. Raises `AuthenticationError`."""
        if key.revoked:
            raise AuthenticationError("the pre-auth key was revoked: make another with `ghostwire key create`")
        if key.expires_at <= utc:
            raise AuthenticationError("the pre-auth key has expired: make another with `ghostwire key create`")
        if key.uses_left is None:
            return ()
        if key.uses_left < 1:
            raise AuthenticationError("the pre-auth key is used up: make another with `ghostwire key create`")
        left = key.uses_left - 1
        record = msgspec.structs.replace(key, uses_left=left, ended_at=0 if left else utc, version=key.version + 1)
        claim.foresee("preauth_keys", record.id, record)
        return (Put("preauth_keys", record, key.version),)


class ApiTokens:
    """Operators' tokens for the REST interface."""

    def __init__(self, state: State, mac_key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._state = state
        self._secrets = Secrets(_API, mac_key, entropy)
        # The log says by its number which token changed something, so that never stands for another one.
        self._last = max(max(state.api_tokens, default=0), state.id_floor("api_tokens"))

    def create(self, command: CreateApiToken, utc: int) -> Decision:
        """Make a token. Nobody mints beyond his own scope. Raises `NotFoundError` for a user that there is not."""
        if command.user is not None and command.user not in self._state.users:
            raise NotFoundError(f"there is no user {command.user}")
        if RANK[command.scope] > RANK[command.granted]:
            raise PermissionDeniedError(f"a token of scope {command.scope} can't be made with scope {command.granted}")
        end = utc + check_life(command.life_s)
        secret, mac = self._secrets.mint()
        self._last += 1
        record = ApiToken(
            id=self._last,
            mac=mac,
            name=printable(command.name, 64),
            scope=command.scope,
            created_at=utc,
            created_by=command.actor,
            expires_at=end,
            user_id=command.user,
        )
        created = TokenCreated(id=record.id, secret=secret, expires_at=end)
        return Decision("api_token.create", (Put("api_tokens", record),), lambda _: created)

    def revoke(self, command: RevokeApiToken, utc: int) -> Decision | None:
        """End a token; None when it was ended before."""
        found = self._state.api_tokens.get(command.token)
        if found is None:
            raise NotFoundError(f"there is no token {command.token}")
        if found.revoked:
            return None
        record = msgspec.structs.replace(found, revoked=True, ended_at=utc, version=found.version + 1)
        write = Put("api_tokens", record, found.version)
        return Decision("api_token.revoke", (write,), answers_nothing)

    def check(self, secret: str, utc: int) -> ApiToken:
        """The token with this secret. Raises `AuthenticationError` with one text for every cause."""
        mac = self._secrets.mac(secret)
        found = self._state.api_token_by_mac.get(mac)
        if found is None or not equal(found.mac, mac) or found.revoked or found.expires_at <= utc:
            raise AuthenticationError("the token is unknown, revoked or expired")
        if found.user_id is not None and found.user_id not in self._state.users:
            raise AuthenticationError("the token is unknown, revoked or expired")
        return found


def check_life(life_s: float) -> int:
    """A credential's life in nanoseconds. Raises `ValidationError` unless it is positive and at most ten years."""
    if not 0 < life_s <= LONGEST_S:
        raise ValidationError("a life is more than 0 seconds and at most ten years")
    return round(life_s * SECOND)
