"""How the effect `BuildPolicy` is carried out: seconds for a large policy, on a thread of the driver."""

from __future__ import annotations

from ghostwire.coordinator.commands import PolicyBuilt
from ghostwire.coordinator.effects import BuildPolicy
from ghostwire.coordinator.policy_aside import Built
from ghostwire.coordinator.views import policy_of
from ghostwire.errors import GhostwireError, InternalError, ValidationError
from ghostwire.policy import Engine


def build_policy(effect: BuildPolicy) -> PolicyBuilt:
    """Read and compile a text, and run its own tests. Never raises: who asked for the policy is told."""
    try:
        policy = policy_of(effect.text)
        engine = effect.directory.build(policy, effect.bindings)
        return PolicyBuilt(build=effect.build, built=Built(policy, engine, _failure(engine)))
    except GhostwireError as error:
        return PolicyBuilt(build=effect.build, error=error)
    except Exception as error:
        return PolicyBuilt(build=effect.build, error=InternalError(f"the policy could not be built: {error!r}"))


def _failure(engine: Engine) -> str | None:
    try:
        engine.check()
    except ValidationError as error:
        return error.message
    return None
