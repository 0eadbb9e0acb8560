"""From results to tables: what is shown, in which unit, beside which budget."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from benchmarks.budgets import budgets
from benchmarks.engine_figures import DECIDE, ONE_CALL, EngineFigures
from benchmarks.engine_parts import BARE, DECODE, ENCODE
from benchmarks.loads import BATCH, CLIENT, LOADS, STREAM, STREAM_IN_FLIGHT
from benchmarks.results import Results
from benchmarks.safety_figures import SafetyFigures
from benchmarks.startup import Start
from benchmarks.summary import Row, Spread
from benchmarks.tables import Table, number

LOAD_NOTE = ", ".join(f"{load.name} {load.connections} x {load.streams}" for load in LOADS)
SERVER_NOTE = (
    "Medians over rounds. CPU: utime + stime of the processes over calls. Ratios: to the echo of the same "
    "round, median [lowest, highest]. Loads, connections x calls in flight on each: "
    f"{LOAD_NOTE}; {CLIENT}: the Python client, blocking, 1 x 1; "
    f"{BATCH}: one call of so many in flight, figures are per call; {STREAM}: one ActStream with "
    f"{STREAM_IN_FLIGHT} calls in flight, made by grpcio in Python."
)
ENGINE_NOTE = (
    "CPU microseconds of one thread per row, least disturbed round. N calls: calls of one row each that are "
    "decided together, as from many clients; 1 call: all rows in one. Of bare: rows per second over those of "
    "ONNX Runtime alone (the same part of the graph, inputs at hand), median of the rounds' ratios. Safety: "
    "guard and mask. Record: counters and bins."
)
PARTS_NOTE = (
    "CPU microseconds of one thread for all rows together, least disturbed round. `rest` is what `decide` "
    "does beside these parts; decoding and encoding are the transport's."
)
SAFETY_NOTE = (
    "CPU microseconds of one thread, least disturbed round. Eight features guarded, three constraints, masks "
    "where there are choices. Margins are for the histograms and are worked out after the answer."
)
START_NOTE = "Medians over starts, the slowest or largest in brackets; 10^6 bytes to the MB."


def tables(results: Results) -> list[Table]:
    """The tables of what was measured."""
    made = [_servers(policy, rows) for policy, rows in _by_policy(results.rows).items()]
    if results.engine:
        made += [_engine(results.engine), *(_parts(rows, results.engine) for rows in _batches(results))]
    if results.safety:
        made.append(_safety(results.safety))
    kept = budgets(results.points, results.engine)
    if kept.rows:
        made.append(kept)
    if results.starts:
        made.append(_starts(results.starts))
    return _each_note_once(made)


def _each_note_once(made: list[Table]) -> list[Table]:
    """A note that several tables share stands under the last of them."""
    last = {table.note: position for position, table in enumerate(made)}
    return [replace(table, note=table.note if last[table.note] == i else "") for i, table in enumerate(made)]


def _by_policy(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.policy, []).append(row)
    return found


def _servers(policy: str, rows: Sequence[Row]) -> Table:
    roles = list(dict.fromkeys(role for row in rows if len(row.cpu_us) > 1 for role in row.cpu_us))
    columns = (
        "load",
        "server",
        "calls/s",
        "p50 us",
        "p99 us",
        "CPU us/call",
        *roles,
        "CPU ratio",
        "rate ratio",
    )
    lines = [_server_row(row, roles) for row in rows]
    return Table(f"Servers, policy {policy}", columns, lines, note=SERVER_NOTE)


def _server_row(row: Row, roles: Sequence[str]) -> tuple[str, ...]:
    figures = (row.calls_per_s, row.p50_us, row.p99_us, row.total_cpu_us)
    each_role = (row.cpu_us.get(role) for role in roles)
    return (
        row.load,
        row.server,
        *(number(spread.median) for spread in figures),
        *("" if spread is None else number(spread.median) for spread in each_role),
        _range(row.cpu_ratio),
        _range(row.rate_ratio),
    )


def _range(spread: Spread | None) -> str:
    if spread is None:
        return "1"
    return f"{spread.median:.2f} [{spread.low:.2f}, {spread.high:.2f}]"


def _engine(figures: Sequence[EngineFigures]) -> Table:
    columns = (
        *("policy", "rows", "bare us/row", "N calls us/row", "of bare", "1 call us/row", "of bare"),
        *("safety us/row", "record us/row"),
    )
    return Table("Decision core", columns, [_engine_row(each) for each in figures], note=ENGINE_NOTE)


def _engine_row(figures: EngineFigures) -> tuple[str, ...]:
    return (
        figures.policy,
        str(figures.rows),
        number(figures.times_us[BARE] / figures.rows),
        number(figures.times_us[DECIDE] / figures.rows),
        f"{figures.throughput_ratio:.0%}",
        number(figures.times_us[ONE_CALL] / figures.rows),
        f"{figures.batch_ratio:.0%}",
        number(figures.safety_us_per_row),
        number(figures.record_us_per_row),
    )


def _batches(results: Results) -> list[int]:
    return list(dict.fromkeys(figures.rows for figures in results.engine))


def _parts(rows: int, figures: Sequence[EngineFigures]) -> Table:
    """One column per policy, one row per part."""
    shown = [each for each in figures if each.rows == rows]
    names = [name for name in shown[0].times_us if name not in {BARE, ONE_CALL}]
    lines = [(name, *(number(each.times_us[name]) for each in shown)) for name in names]
    lines.insert(1, ("  rest", *(number(_rest(each)) for each in shown)))
    calls = "one call" if rows == 1 else f"{rows} calls decided together"
    title = f"Where the time of {calls} goes, us"
    return Table(title, ("part", *(each.policy for each in shown)), lines, note=PARTS_NOTE)


def _rest(figures: EngineFigures) -> float:
    outside = {BARE, DECIDE, ONE_CALL, DECODE, ENCODE}
    inside = sum(time for name, time in figures.times_us.items() if name not in outside)
    return figures.times_us[DECIDE] - inside


def _safety(figures: Sequence[SafetyFigures]) -> Table:
    lines = [
        (
            each.actions,
            str(each.rows),
            number(each.path_us),
            "15" if each.rows == 1 else "1.5",
            number(each.margins_us),
        )
        for each in figures
    ]
    columns = ("actions", "rows", "path us/row", "budget", "margins us/row")
    return Table("Safety path, nothing violated", columns, lines, note=SAFETY_NOTE)


def _starts(starts: Sequence[Start]) -> Table:
    lines: list[tuple[str, Callable[[Start], float], str]] = [
        ("worker ready after its start, s", lambda start: start.worker_s, "1"),
        ("server ready after `steersman serve`, s", lambda start: start.server_s, ""),
        ("worker resident, MB", lambda start: start.worker_mb, "120"),
        ("supervisor resident, MB", lambda start: start.supervisor_mb, ""),
        ("both resident, MB", lambda start: start.total_mb, ""),
        ("both, shared pages once, MB", lambda start: start.shared_mb, ""),
    ]
    rows = [(name, _worst([figure(start) for start in starts]), budget) for name, figure, budget in lines]
    return Table(
        "Start and memory, one worker, one small bundle", ("", "measured", "budget"), rows, START_NOTE
    )


def _worst(values: Sequence[float]) -> str:
    return f"{number(statistics.median(values))} [{number(max(values))}]"
