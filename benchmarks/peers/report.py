"""From a comparison to tables."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.run import BASELINE, Comparison
from benchmarks.peers.weigh import Weight
from benchmarks.summary import Row, Spread
from benchmarks.tables import Table, number

LOAD_NOTE = (
    "Medians over rounds. CPU: utime + stime of all processes of the server over calls. Ratios: to "
    f"`{BASELINE}` in the same round, median [lowest, highest]. Loads, connections x calls in flight on "
    "each: c1 1 x 1, c8 8 x 1, c64 64 x 1, saturated 8 x 16 (HTTP/1.1: 128 x 1)."
)
WEIGHT_NOTE = (
    "Memory: of all processes after the load, shared pages counted in part (PSS), 10^6 bytes to the MB. "
    "Idle: CPU milliseconds per second without calls, which are in the figures above too. A server that "
    "speaks two protocols is in both of its lines."
)


def tables(found: Comparison) -> list[Table]:
    """The tables of what was measured, and of what could not be."""
    made = [_load(load, rows, found) for load, rows in _by_load(found.rows).items()]
    made = [*made[:-1], *(_with_note(table) for table in made[-1:]), _weights(found)]
    if found.failures:
        lines = [(name, " ".join(reason.split())) for name, reason in found.failures.items()]
        made.append(Table("Not measured", ("what", "why"), lines))
    return made


def _with_note(table: Table) -> Table:
    return Table(table.title, table.columns, table.rows, LOAD_NOTE)


def _by_load(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.load, []).append(row)
    return found


def _load(load: str, rows: Sequence[Row], found: Comparison) -> Table:
    columns = ("server", "wire", "calls/s", "p50 us", "p99 us", "CPU us/call", "CPU ratio", "rate ratio")
    lines = [_line(row, found.wires[row.server]) for row in rows]
    return Table(f"Load {load}, policy {rows[0].policy}", columns, lines)


def _line(row: Row, wire: str) -> tuple[str, ...]:
    figures = (row.calls_per_s, row.p50_us, row.p99_us, row.total_cpu_us)
    ratios = (_range(row.cpu_ratio), _range(row.rate_ratio))
    return (row.server, wire, *(number(figure.median) for figure in figures), *ratios)


def _range(spread: Spread | None) -> str:
    if spread is None:
        return "1"
    return f"{spread.median:.2f} [{spread.low:.2f}, {spread.high:.2f}]"


def _weights(found: Comparison) -> Table:
    settings = {peer.name: f"{peer.package} {peer.version}: {peer.setting}" for peer in PEERS}
    lines = [
        (
            name,
            number(each.memory_mb),
            str(each.processes),
            number(each.idle_ms_per_s),
            settings.get(name, ""),
        )
        for name, each in found.weights.items()
    ]
    columns = ("server", "memory MB", "processes", "idle ms/s", "setting")
    return Table("Memory and idle CPU", columns, lines, WEIGHT_NOTE)


def _weight(each: Weight) -> tuple[str, ...]:
    return number(each.memory_mb), str(each.processes), number(each.idle_ms_per_s)
