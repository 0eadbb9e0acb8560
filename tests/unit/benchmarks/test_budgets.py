"""That each budget is held against the right measurements."""

from benchmarks.budgets import NATIVE, ONE_IN_FLIGHT, budgets
from benchmarks.engine_figures import DECIDE, EngineFigures
from benchmarks.engine_parts import GUARD, MASK, RECORD
from benchmarks.loads import SATURATED
from benchmarks.points import Point
from benchmarks.policies import REFERENCE, WIDE
from benchmarks.servers import ECHO, NATIVE_ECHO


def _point(server: str, load: str, *, cpu_us: float, p50_us: float = 1.0) -> Point:
    return Point(server, REFERENCE.name, load, 0, 100, 0.1, p50_us, 2.0, {"server": cpu_us})


def _figures(policy: str) -> EngineFigures:
    times = {DECIDE: 640.0, GUARD: 32.0, MASK: 32.0, RECORD: 16.0}
    return EngineFigures(policy, 64, times, 0.6, 0.8, {})


def test_a_server_is_held_against_the_echo_of_its_own_transport_and_of_grpcio() -> None:
    points = [
        _point(ECHO, SATURATED.name, cpu_us=400.0),
        _point(NATIVE_ECHO, SATURATED.name, cpu_us=20.0),
        _point(NATIVE, SATURATED.name, cpu_us=50.0),
        _point(NATIVE_ECHO, ONE_IN_FLIGHT, cpu_us=1.0, p50_us=50.0),
        _point(NATIVE, ONE_IN_FLIGHT, cpu_us=9.0, p50_us=100.0),
    ]
    found = [(measured, budget) for _, measured, budget in budgets(points, []).rows]
    assert found == [
        ("2.5 [2.5, 2.5]", "at most 2"),
        ("0.125 [0.125, 0.125]", "at most 0.167"),
        ("2 [2, 2]", "at most 1.3"),
    ]


def test_the_core_is_held_against_its_budgets_per_row() -> None:
    rows = budgets([], [_figures(REFERENCE.name), _figures(WIDE.name)]).rows
    assert [measured for _, measured, _ in rows] == ["1", "0.25", "80%", "60%"]


def test_what_was_not_measured_has_no_line() -> None:
    assert list(budgets([_point(NATIVE, SATURATED.name, cpu_us=9.0)], [_figures("small")]).rows) == []
