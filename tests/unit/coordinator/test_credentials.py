import pytest

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import (
    CreateApiToken,
    CreatePreauthKey,
    CreateUser,
    DeleteUser,
    ExpireNode,
    LogoutNode,
    RevokeApiToken,
    RevokePreauthKey,
    SetUserRole,
    TagNode,
)
from ghostwire.coordinator.effects import KeyCreated, Persist, TokenCreated
from ghostwire.coordinator.starting import PURGE_SOON_S
from ghostwire.errors import (
    AuthenticationError,
    ConflictError,
    GhostwireError,
    NotFoundError,
    PermissionDeniedError,
    ValidationError,
)
from ghostwire.model.change import Put
from ghostwire.model.time import SECOND
from ghostwire.model.user import Identity
from ghostwire.testing.simnet import SimNet


@pytest.fixture
def net() -> SimNet:
    return SimNet(seed=1)


def token(net: SimNet, scope: str = "read", granted: str = "admin", life_s: float = 3600.0) -> TokenCreated:
    created: TokenCreated = net.ask(CreateApiToken, name="ci", scope=scope, granted=granted, life_s=life_s)
    return created


def test_a_key_defaults_to_one_use_and_an_hour_and_makes_its_user(net: SimNet) -> None:
    created: KeyCreated = net.ask(CreatePreauthKey, user="alice")
    kept = net.coordinator.view.preauth_keys()[0]
    assert created.expires_at == kept.expires_at == net.clock().utc + 3600 * SECOND
    assert (kept.uses_left, kept.user_id) == (1, net.coordinator.view.user_by_name("alice").id)
    assert len(created.secret) == len("gwk_") + 43


def test_secrets_are_kept_nowhere_and_shown_by_no_repr(net: SimNet) -> None:
    created = net.ask(CreatePreauthKey, user="alice")
    made = token(net)
    node = net.join("a", created.secret)
    assert node.token
    for secret in (created.secret, made.secret, node.token):
        for text in (repr(net.store.log), repr(net.store.tables()), repr(created), repr(made), repr(net.store.seen)):
            assert secret not in text
            assert secret[4:] not in text


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user": "a", "tags": ("tag:x",)},
        {"user": "a", "uses": 0},
        {"user": "a", "life_s": 0.0},
        {"user": "a", "life_s": 1e12},
        {"user": "a", "life_s": float("nan")},
        {"user": "-bad-"},
        {"tags": ("x",)},
    ],
)
def test_keys_that_make_no_sense_are_refused(net: SimNet, fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        net.ask(CreatePreauthKey, **fields)
    assert net.store.log == []


def test_nobody_mints_beyond_his_own_scope(net: SimNet) -> None:
    ranks = ["read", "write", "admin"]
    for granted in ranks:
        for scope in ranks:
            if ranks.index(scope) <= ranks.index(granted):
                assert token(net, scope, granted).id
            else:
                with pytest.raises(PermissionDeniedError):
                    token(net, scope, granted)
    net.ask(CreateUser, name="a")
    net.ask(CreatePreauthKey, user="a", granted="write")
    refused = (
        {"user": "a", "granted": "read"},
        {"tags": ("tag:x",), "granted": "write"},
        {"user": "new", "granted": "write"},
    )
    for fields in refused:
        with pytest.raises(PermissionDeniedError):
            net.ask(CreatePreauthKey, **fields)
    with pytest.raises(NotFoundError):
        net.coordinator.view.user_by_name("new")


def test_api_tokens_hold_until_revoked_or_expired(net: SimNet) -> None:
    made, other = token(net, "write"), token(net)
    check = net.coordinator.view.check_api_token
    assert check(made.secret, net.clock()).scope == "write"
    net.ask(RevokeApiToken, token=other.id)
    net.ask(RevokeApiToken, token=other.id)
    key = net.key()
    for secret in (other.secret, key, "gwt_", "gwt_" + "A" * 43, "gwt_" + key[4:], made.secret + "A", ""):
        with pytest.raises(AuthenticationError):
            check(secret, net.clock())
    net.advance(3600 - 0.001)
    assert check(made.secret, net.clock())
    net.advance(0.001)
    with pytest.raises(AuthenticationError):
        check(made.secret, net.clock())
    with pytest.raises(NotFoundError):
        net.ask(RevokeApiToken, token=99)


def test_revoking_a_key_twice_is_one_change(net: SimNet) -> None:
    net.key()
    net.ask(RevokePreauthKey, key=1)
    rows = len(net.store.log)
    net.ask(RevokePreauthKey, key=1)
    assert len(net.store.log) == rows
    with pytest.raises(NotFoundError):
        net.ask(RevokePreauthKey, key=7)


def test_users_with_nodes_are_not_deleted_and_their_keys_go_with_them(net: SimNet) -> None:
    secret = net.key("alice")
    node = net.register(net.node("a"), secret)
    user = net.coordinator.view.user_by_name("alice")
    with pytest.raises(ConflictError, match="owns a node: delete it first"):
        net.ask(DeleteUser, user=user.id)
    net.ask(LogoutNode, node=node.id)
    net.ask(DeleteUser, user=user.id)
    assert net.coordinator.view.preauth_keys() == ()
    with pytest.raises(AuthenticationError):
        net.register(net.node("b"), secret)
    net.restart()
    assert net.ask(CreateUser, name="alice").id > user.id


def test_a_deleted_users_key_number_revives_nobodys_node(net: SimNet) -> None:
    """The node came with the user's key, was tagged since, and has expired: only a key for its tag revives it."""
    node = net.register(net.node("a"), net.key("alice"))
    net.ask(TagNode, node=node.id, tags=("tag:web",))
    net.ask(ExpireNode, node=node.id)
    net.ask(DeleteUser, user=net.coordinator.view.user_by_name("alice").id)
    net.restart()
    with pytest.raises(ConflictError, match="another owner"):
        net.register(node, net.key("bob"))


def test_a_users_identities_are_issuer_and_subject_and_go_with_them(net: SimNet) -> None:
    users = [net.ask(CreateUser, name=name, email="same@example.com") for name in ("alice", "bob")]
    identities = [
        Identity(issuer="https://id.example.com", subject="1", user_id=users[0].id),
        Identity(issuer="https://id.example.com", subject="2", user_id=users[1].id),
        Identity(issuer="https://other.example.com", subject="1", user_id=users[1].id),
    ]
    writes = tuple(Put("identities", identity) for identity in identities)
    net.store.commit(Persist(persist=0, actor="test", kind="identity.create", writes=writes), net.clock().utc)
    net.restart()
    net.ask(DeleteUser, user=users[1].id)
    assert net.store.tables()["identities"] == (identities[0],)
    assert net.coordinator._core.state.tables == net.store.replayed().tables


def test_roles_change_and_bad_ones_are_refused(net: SimNet) -> None:
    user = net.ask(CreateUser, name="alice", role="admin")
    assert net.ask(SetUserRole, user=user.id, role="owner").version == 2
    for make, fields in ((SetUserRole, {"user": user.id, "role": "god"}), (CreateUser, {"name": "b", "role": "god"})):
        with pytest.raises(ValidationError):
            net.ask(make, **fields)
    with pytest.raises(NotFoundError):
        net.ask(SetUserRole, user=9, role="member")


# Session tokens.


def checks(net: SimNet) -> dict[str, int]:
    return net.coordinator.view.counters.session_checks


def test_a_token_slides_24_hours_from_its_last_use_and_costs_no_write() -> None:
    net = SimNet(seed=1)
    node = net.join("a", net.key())
    first = node.token
    for _ in range(3):
        net.advance(86_400 - 1)
        rows = [row.kind for row in net.store.log]
        net.connect(node)
        assert node.token == first
        assert [row.kind for row in net.store.log] == rows
    net.advance(86_400)
    net.connect(node)
    assert node.token != first
    assert checks(net) == {"ok": 3, "minted": 2, "refused": 1}


def test_a_slid_token_survives_a_graceful_restart() -> None:
    net = SimNet(seed=1)
    node = net.join("a", net.key())
    net.advance(80_000)
    first = node.token
    net.connect(node)
    net.restart()
    net.advance(80_000)
    net.connect(node)
    assert node.token == first


def test_lapsed_tokens_are_cleaned_up() -> None:
    net = SimNet(Settings(session_timeout_s=3600.0), seed=1)
    net.join("a", net.key())
    assert len(net.store.tables()["session_tokens"]) == 1
    net.advance(3600 + 600)
    assert net.store.tables()["session_tokens"] == ()


def test_a_token_is_its_own_nodes_only_and_proof_is_enough(net: SimNet) -> None:
    secret = net.key()
    a, b = net.join("a", secret), net.join("b", secret)
    b.token = a.token
    net.connect(b)
    assert b.token != a.token
    a.token = "not a token"
    net.connect(a)
    assert checks(net) == {"ok": 0, "minted": 4, "refused": 2}


def test_one_live_session_a_node(net: SimNet) -> None:
    node = net.join("a", net.key())
    first = node.session
    net.connect(node)
    assert node.session > first
    assert net.coordinator.view.live_sessions() == 1


def test_a_stopped_coordinator_flushes_and_refuses(net: SimNet) -> None:
    node = net.join("a", net.key())
    net.coordinator.stop(net.clock())
    net.drain()
    assert net.store.mark is not None
    assert net.store.seen[node.id].online
    with pytest.raises(GhostwireError, match="stopping"):
        net.ask(CreateUser, name="x")
    assert net.coordinator.poll_timeout() is None


def test_what_ended_is_kept_for_thirty_days_and_then_removed_some_at_a_time(
    net: SimNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.coordinator.ended_credentials.MOST", 1)
    view = net.coordinator.view
    day = 86_400.0
    standing = net.ask(CreatePreauthKey, user="alice", uses=None, life_s=365 * day)
    used = net.ask(CreatePreauthKey, user="alice", life_s=365 * day)
    revoked = net.ask(CreatePreauthKey, user="alice", life_s=365 * day)
    short = [net.ask(CreatePreauthKey, user="alice", life_s=60.0) for _ in range(3)]
    tokens = [token(net, life_s=365 * day), token(net, life_s=365 * day)]
    node = net.join("a", used.secret)
    gone = net.join("b", short[1].secret)
    net.ask(RevokePreauthKey, key=revoked.id)
    net.ask(RevokeApiToken, token=tokens[1].id)
    net.advance(29 * day)
    assert (len(view.preauth_keys()), len(view.api_tokens())) == (6, 2)
    hour = 3600.0 + PURGE_SOON_S  # after one that was full comes one that finds nothing
    net.advance(day + PURGE_SOON_S + hour)
    assert [key.id for key in view.preauth_keys()] == [standing.id, used.id, short[1].id, short[2].id]
    net.advance(PURGE_SOON_S)
    assert [key.id for key in view.preauth_keys()] == [standing.id, used.id, short[1].id]
    assert [kept.id for kept in view.api_tokens()] == [tokens[0].id]
    assert [record.kind for record in net.store.log].count("credential.purge") == 3
    net.register(node, used.secret)  # whoever came with it is recognised still
    net.ask(LogoutNode, node=gone.id)
    net.advance(hour)
    assert [key.id for key in view.preauth_keys()] == [standing.id, used.id]


def test_a_leader_that_starts_removes_what_ended_long_ago_soon(net: SimNet) -> None:
    net.ask(CreatePreauthKey, user="alice", life_s=60.0)
    net.advance(30 * 86_400.0 + 60.0)
    net.restart()
    assert len(net.coordinator.view.preauth_keys()) == 1
    net.advance(PURGE_SOON_S)
    assert net.coordinator.view.preauth_keys() == ()


def test_the_number_of_a_removed_token_or_key_is_never_given_again(net: SimNet) -> None:
    last = (net.ask(CreatePreauthKey, user="alice").id, token(net).id)
    net.advance(31 * 86_400.0)
    assert net.coordinator.view.preauth_keys() == net.coordinator.view.api_tokens() == ()
    net.restart()
    assert (net.ask(CreatePreauthKey, user="alice").id, token(net).id) == (last[0] + 1, last[1] + 1)
