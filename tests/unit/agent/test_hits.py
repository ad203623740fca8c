"""What rules did, until it is reported."""

from ghostwire.agent.hits import RuleHits
from ghostwire.wire.messages import MAX_HITS, MOST_HITS


def test_a_report_has_the_highest_counts_and_the_others_come_later() -> None:
    hits = RuleHits()
    hits.add({rule: rule + 1 for rule in range(MAX_HITS + 2)})
    first = hits.take()
    assert len(first) == MAX_HITS
    assert min(first.values()) == 3
    hits.add({0: 4})
    assert hits.take() == {0: 5, 1: 2}
    assert hits.take() == {}


def test_a_count_that_is_too_high_for_one_report_comes_in_two() -> None:
    hits = RuleHits()
    hits.add({7: MOST_HITS + 3})
    assert [hits.take(), hits.take(), hits.take()] == [{7: MOST_HITS}, {7: 3}, {}]
