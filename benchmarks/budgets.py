"""The budgets that Steersman has set itself, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from benchmarks.engine_figures import EngineFigures
from benchmarks.loads import LOADS, SATURATED
from benchmarks.points import Point
from benchmarks.policies import REFERENCE, WIDE
from benchmarks.servers import ECHO, NAMES, NATIVE_ECHO
from benchmarks.summary import Spread, paired
from benchmarks.tables import Table, number

NATIVE = NAMES["native"]
ONE_IN_FLIGHT = LOADS[0].name
BATCH_ROWS = 64
NOTE = (
    "Ratios are taken round by round, median [lowest, highest]. The native transport decides with everything "
    f"on; policy {REFERENCE.name}, the last line {WIDE.name}. The core's figures are of {BATCH_ROWS} rows."
)


def budgets(points: Sequence[Point], engine: Iterable[EngineFigures]) -> Table:
    """What was measured of that for which there is a budget; no row where nothing was."""
    return Table("Budgets", ("", "measured", "budget"), [*_served(points), *_core(engine)], NOTE)


def _served(points: Sequence[Point]) -> Iterator[tuple[str, str, str]]:
    for name, load, beside, figure, budget in (
        ("CPU per call, saturated, over native echo", SATURATED.name, NATIVE_ECHO, _cpu_us, "2"),
        ("CPU per call, saturated, over grpcio-aio echo", SATURATED.name, ECHO, _cpu_us, "0.167"),
        ("p50, one in flight, over native echo", ONE_IN_FLIGHT, NATIVE_ECHO, _p50_us, "1.3"),
    ):
        spread = _ratio(points, load, beside, figure)
        if spread is not None:
            low, high = number(spread.low), number(spread.high)
            yield name, f"{number(spread.median)} [{low}, {high}]", f"at most {budget}"


def _ratio(
    points: Sequence[Point], load: str, beside: str, figure: Callable[[Point], float]
) -> Spread | None:
    """Steersman's figure over that of the server beside it; None where one of them was not measured."""
    ours, theirs = (
        [p for p in points if (p.server, p.policy, p.load) == (server, REFERENCE.name, load)]
        for server in (NATIVE, beside)
    )
    return paired(ours, theirs, figure) if ours and theirs else None


def _cpu_us(point: Point) -> float:
    return point.total_cpu_us


def _p50_us(point: Point) -> float:
    return point.p50_us


def _core(engine: Iterable[EngineFigures]) -> Iterator[tuple[str, str, str]]:
    found = {each.policy: each for each in engine if each.rows == BATCH_ROWS}
    reference, wide = found.get(REFERENCE.name), found.get(WIDE.name)
    if reference is not None:
        yield "guard and mask, us per row", number(reference.safety_us_per_row), "at most 1.5"
        yield "recording, us per row", number(reference.record_us_per_row), "at most 0.5"
    if wide is not None:
        yield "one call, rows per second over bare ONNX Runtime's", f"{wide.batch_ratio:.0%}", "at least 70%"
        yield "calls of one row, likewise", f"{wide.throughput_ratio:.0%}", "at least 70%"
