import json

from benchmarks.engine_figures import DECIDE, ONE_CALL, EngineFigures
from benchmarks.engine_parts import BARE, DECODE, ENCODE, GUARD, MASK, RECORD
from benchmarks.points import Point
from benchmarks.report import tables
from benchmarks.results import Results
from benchmarks.servers import ECHO, NAMES
from benchmarks.startup import Start


def _point(server: str, cpu_us: dict[str, float]) -> Point:
    return Point(server, "small", "c1", 0, calls=100, seconds=0.1, p50_us=500.0, p99_us=900.0, cpu_us=cpu_us)


def _figures(rows: int) -> EngineFigures:
    times = {BARE: 10.0, DECIDE: 100.0, ONE_CALL: 50.0, DECODE: 9.0, GUARD: 4.0, MASK: 6.0, RECORD: 8.0}
    times[ENCODE] = 7.0
    return EngineFigures("small", rows, times, 0.1, 0.2, {name: [time] for name, time in times.items()})


RESULTS = Results(
    machine={"processor": "a small one"},
    points=[_point(ECHO, {"server": 400.0}), _point(NAMES["grpcio"], {"supervisor": 2.0, "worker": 598.0})],
    engine=[_figures(1), _figures(4)],
    starts=[Start(1.5, 0.8, 60.0, 100.0, 95.0), Start(1.7, 0.9, 62.0, 101.0, 96.0)],
)


def test_a_server_is_shown_beside_its_baseline_with_its_processes_apart() -> None:
    table = tables(RESULTS)[0]
    echo, steersman = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert echo["CPU us/call"] == "400"
    assert (echo["worker"], echo["CPU ratio"]) == ("", "1")
    assert (steersman["CPU us/call"], steersman["worker"], steersman["supervisor"]) == ("600", "598", "2")
    assert steersman["CPU ratio"] == "1.50 [1.50, 1.50]"


def test_the_core_is_shown_per_row_with_its_safety_and_recording() -> None:
    table = next(table for table in tables(RESULTS) if table.title == "Decision core")
    assert table.rows[1] == ("small", "4", "2.5", "25.0", "10%", "12.5", "20%", "2.5", "2")


def test_what_the_parts_leave_over_is_shown() -> None:
    table = next(table for table in tables(RESULTS) if "4 calls" in table.title)
    assert ("  rest", "82.0") in table.rows


def test_starts_are_shown_with_their_budgets_and_the_worst() -> None:
    table = tables(RESULTS)[-1]
    worker = {row[0]: row[1:] for row in table.rows}
    assert worker["worker ready after its start, s"] == ("0.85 [0.9]", "1")
    assert worker["worker resident, MB"] == ("100 [101]", "120")
    assert worker["both resident, MB"] == ("162 [163]", "")


def test_parts_that_were_not_run_have_no_tables() -> None:
    assert tables(Results(machine={})) == []


def test_the_json_has_every_round() -> None:
    document = json.loads(RESULTS.to_json())
    assert document["machine"] == {"processor": "a small one"}
    assert [point["server"] for point in document["points"]] == [ECHO, NAMES["grpcio"]]
    assert document["summary"][1]["cpu_ratio"]["median"] == 1.5
    assert document["engine"][0]["rounds_us"][DECIDE] == [100.0]
    assert document["starts"][1]["worker_s"] == 0.9
