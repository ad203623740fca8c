"""How the effect `BuildPolicy` is carried out: up to seconds for a large policy, on a thread of the driver."""

from __future__ import annotations

from collections.abc import Callable

from ghostwire.coordinator.census import Directory
from ghostwire.coordinator.commands import PolicyBuilt
from ghostwire.coordinator.decision import Fallback
from ghostwire.coordinator.effects import BuildPolicy
from ghostwire.coordinator.policy_aside import Built
from ghostwire.coordinator.policy_diff import Meaning, only_removes
from ghostwire.coordinator.policy_successor import Successor
from ghostwire.coordinator.views import policy_of
from ghostwire.errors import GhostwireError, InternalError, ValidationError
from ghostwire.policy import Engine, Policy


def build_policy(effect: BuildPolicy) -> PolicyBuilt:
    """Read a text, and compile it unless few rules differ; run its own tests. Never raises: who asked is told."""
    try:
        return PolicyBuilt(build=effect.build, built=_built(effect, policy_of(effect.text)))
    except GhostwireError as error:
        return PolicyBuilt(build=effect.build, error=error)
    except BaseException as error:  # on a thread of its own nobody else hears of a panic, which is no Exception
        return PolicyBuilt(build=effect.build, error=InternalError(f"the policy could not be built: {error!r}"))


def _built(effect: BuildPolicy, policy: Policy) -> Built:
    standing = effect.standing
    if standing.names_hold and effect.against is None and standing.engine.can_edit(policy):
        failure = _failure(lambda: standing.engine.check_instead(policy, effect.census.at))
        return Built(policy, None, _judge(effect, policy), failure)
    directory = effect.census.directory()
    engine = directory.build(policy, effect.bindings)
    failure = _failure(engine.check)
    before = standing.compiled(policy_of(standing.text), directory)
    removes = effect.against is not None and _only_removes(effect, effect.against, engine, directory)
    return Built(policy, Successor.of(engine, before, standing), engine, failure, removes)


def _failure(check: Callable[[], None]) -> str | None:
    try:
        check()
    except ValidationError as error:
        return error.message
    return None


def _only_removes(effect: BuildPolicy, against: Fallback, engine: Engine, directory: Directory) -> bool:
    """Whether the policy takes access away and gives none, held against another.

    By what the texts say: access that somebody has approved stands beside either.
    """
    before = directory.build(policy_of(against.text), against.bindings)
    return only_removes(Meaning(against.text, before), Meaning(effect.text, engine), directory)


def _judge(effect: BuildPolicy, policy: Policy) -> Engine | None:
    """The policy over those at the ends of connections, and over all who have networks behind them."""
    if not effect.ends:
        return None
    around = effect.census.directory(lambda node: node.slot in effect.ends or bool(node.approved_routes))
    return around.build(policy, effect.bindings)
