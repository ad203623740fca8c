"""Access policy: the language, who matches what, and the answers compiled from it.

It reads no file and no clock: texts, facts and changes come in, decisions, filters and sets of node ids go out.
"""

from ghostwire.policy.engine import Engine, Policy, default_policy
from ghostwire.policy.facts import Change, NodeFacts, UserFacts

__all__ = ["Change", "Engine", "NodeFacts", "Policy", "UserFacts", "default_policy"]
