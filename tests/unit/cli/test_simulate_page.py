"""A simulation's report as text and as a page, from figures alone."""

import msgspec

from ghostwire.cli.simulate import text
from ghostwire.cli.simulate.aims import NODES, aims
from ghostwire.cli.simulate.page import render
from ghostwire.testing.load import report

FOUND = report.Report(
    nodes=NODES,
    workers=4,
    join=report.Join(
        seconds=100.0,
        rate=500.0,
        p50_ms=16.0,
        p99_ms=2000.0,
        cpu_ms=2.5,
        leader_cpu_ms=1.5,
        workers_cpu_ms=1.0,
        failed=0,
    ),
    steady=report.Steady(seconds=600.0, sessions_min=50_000, sessions_lost=0),
    query=report.Queries(rate=3000.0, p50_ms=0.3, p99_ms=0.9, raw_uvloop_p99_ms=0.4),
    storm=report.Storm(
        seconds=45.0, resumed_unchanged=49_900, resumed_delta=0, resumed_full=0, lost=0, query_p99_ms=None
    ),
    memory=report.Memory(worker_bytes_per_session=2700.0, leader_bytes_per_node=4500.0, total_mib=1280.0),
    digest_mismatches=0,
)
TRACE = report.Trace(
    samples=tuple(
        report.Sample(at=at / 2, sessions=at, deliveries=at * 100, cpu_s=(at / 4, at / 2, at / 8), mib=(100.0, 400.0))
        for at in range(100)
    ),
    scenes=((0.0, "prepare"), (10.0, "<join>")),
    curves=(report.Curve(name="join", points=((0.0, 1.0), (50.0, 2.0), (100.0, 9.0))),),
    clients=report.Clients(processes=4, cpu_ms_per_join=2.0, cpu_us_per_delivery=None, total_mib=100.0),
    faults=("node 7 held <b>",),
)


def test_what_was_aimed_at_stands_beside_what_was_measured() -> None:
    missed = {one.what: one.measured for one in aims(FOUND) if not one.reached}
    assert missed == {
        "server CPU of a join": "2.5 ms",
        "memory of a node in the leader": "4.5 KB",
        "beside a bare uvloop server": "2.25 times",
        "queries meanwhile, p99": "-",
    }
    assert len(aims(FOUND)) == 12
    assert aims(msgspec.structs.replace(FOUND, nodes=NODES - 1)) == []


def test_the_page_shows_figures_aims_and_who_used_the_cores_and_loads_nothing() -> None:
    page = render(FOUND, TRACE)
    assert page.count('class="not"') == 4
    assert "(1.5 the leader&#x27;s, 1.0 its workers&#x27;)" in page
    assert page.count("<svg") == 5
    assert page.count("<polyline") == 1 + 1 + 3 + 2 + 1
    assert "&lt;join&gt;" in page
    assert "node 7 held &lt;b&gt;" in page
    assert "src=" not in page
    assert "href" not in page


def test_the_text_names_what_was_not_reached() -> None:
    shown = text.render(FOUND, TRACE)
    assert "8 of 12 reached" in shown
    assert "beside a bare uvloop server 2.25 times (2 times)" in shown
    assert "aims" not in text.render(msgspec.structs.replace(FOUND, nodes=1000), TRACE)
