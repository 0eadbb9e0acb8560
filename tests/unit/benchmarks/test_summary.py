import pytest
from benchmarks.points import Point
from benchmarks.summary import Spread, paired, summarize


def _point(server: str, number: int, cpu: float, *, load: str = "c1", calls: int = 100) -> Point:
    return Point(
        server=server,
        policy="p",
        load=load,
        round=number,
        calls=calls,
        seconds=0.5,
        p50_us=10.0 + number,
        p99_us=20.0 + number,
        cpu_us={"supervisor": 1.0, "worker": cpu - 1.0},
    )


def test_a_spread_has_the_median_and_the_extremes() -> None:
    assert Spread.of([3.0, 9.0, 4.0]) == Spread(4.0, 3.0, 9.0)


def test_ratios_are_taken_within_the_round_before_the_median() -> None:
    slow_second_round = [_point("echo", 0, 100), _point("echo", 1, 400), _point("echo", 2, 100)]
    server = [_point("s", 0, 200), _point("s", 1, 800), _point("s", 2, 300)]
    assert paired(server, slow_second_round, lambda point: point.total_cpu_us) == Spread(2.0, 2.0, 3.0)


def test_the_order_of_measuring_does_not_matter_for_pairs() -> None:
    echo = [_point("echo", 1, 400), _point("echo", 0, 100)]
    server = [_point("s", 0, 200), _point("s", 1, 400)]
    assert paired(server, echo, lambda point: point.total_cpu_us) == Spread(1.5, 1.0, 2.0)


def test_rows_come_load_by_load_with_the_baseline_beside() -> None:
    points = [
        _point(server, 0, cpu, load=load)
        for load in ("c1", "c8")
        for server, cpu in (("echo", 100.0), ("s", 250.0))
    ]
    rows = summarize(points, baseline="echo")
    assert [(row.load, row.server) for row in rows] == [
        ("c1", "echo"),
        ("c1", "s"),
        ("c8", "echo"),
        ("c8", "s"),
    ]
    assert rows[0].cpu_ratio is None
    assert rows[1].cpu_ratio == Spread(2.5, 2.5, 2.5)
    assert rows[1].cpu_us["worker"].median == 249.0
    assert rows[1].calls_per_s.median == pytest.approx(200.0)


def test_without_a_baseline_there_are_no_ratios() -> None:
    (row,) = summarize([_point("s", 0, 250.0), _point("s", 1, 350.0)], baseline="echo")
    assert row.cpu_ratio is None
    assert row.calls == 200
    assert row.total_cpu_us == Spread(300.0, 250.0, 350.0)
