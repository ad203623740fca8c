"""Where blocks stand, as readers find it beside a writer."""

from ghostwire.zqlite.series.directory import Directory, Entry, Span

BEFORE, AFTER = Entry([Span(1, 2, 1)], 3), Entry([Span(1, 2, 1), Span(3, 4, 2)], 5)


def test_what_was_before_a_change_is_shown_to_nobody_who_may_have_seen_it() -> None:
    """A reader that began before the change ends after another one that has seen it, in all orders with the writer."""
    directory = Directory()
    directory.keep(1, 7, BEFORE, directory.generation)
    early = directory.generation
    directory.changing(1, {7})
    assert directory.find(1, 7) is None, "the change may be seen from here on"
    between = directory.generation
    directory.keep(1, 7, BEFORE, early)
    directory.keep(1, 7, BEFORE, between)
    assert directory.find(1, 7) is None
    directory.changed()
    directory.keep(1, 7, BEFORE, early)
    directory.keep(1, 7, BEFORE, between)
    assert directory.find(1, 7) is None
    directory.keep(1, 7, AFTER, directory.generation)
    assert directory.find(1, 7) is AFTER
