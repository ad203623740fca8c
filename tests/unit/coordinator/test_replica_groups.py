"""Groups of those who see alike: what another policy ends is empty, also for who still looks at it."""

from pyroaring import BitMap

from ghostwire.coordinator.replica.groups import Groups


def test_a_group_that_another_policy_ends_has_no_members() -> None:
    groups = Groups()
    for slot in range(4):
        groups.move(slot, (slot // 2, 0, 0))
    first, second = groups
    assert groups.rename([(0, (7, 0, 0)), (1, (7, 0, 0)), (2, (8, 0, 0)), (3, (9, 0, 0))]) == BitMap([2, 3])
    assert (first.members, second.members) == (BitMap([0, 1]), BitMap())
    assert groups.over == [second.number]
