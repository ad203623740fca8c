"""Access policy: the language, who matches what, and the answers compiled from it.

It reads no file and no clock: texts, facts and changes come in, decisions, filters and sets of node ids go out.
"""

from ghostwire.policy.directory import Directory, compile, directory
from ghostwire.policy.engine import POOLS, Engine, Standpoint
from ghostwire.policy.facts import (
    AccessGrant,
    Change,
    Explanation,
    FilterRow,
    Limit,
    NodeFacts,
    Remark,
    RequestRule,
    RuleMatch,
    SightEnds,
    UserFacts,
    WrittenRule,
    filter_rule,
)
from ghostwire.policy.language import Policy, default_policy

__all__ = [
    "POOLS",
    "AccessGrant",
    "Change",
    "Directory",
    "Engine",
    "Explanation",
    "FilterRow",
    "Limit",
    "NodeFacts",
    "Policy",
    "Remark",
    "RequestRule",
    "RuleMatch",
    "SightEnds",
    "Standpoint",
    "UserFacts",
    "WrittenRule",
    "compile",
    "default_policy",
    "directory",
    "filter_rule",
]
