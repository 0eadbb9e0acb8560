import pytest
from benchmarks.counters import Totals, parse_totals, verify_counted
from benchmarks.errors import BenchmarkError

TEXT = """\
# HELP steersman_decisions_total Rows decided.
# TYPE steersman_decisions_total counter
steersman_decisions_total{policy="a",version="1",lane="stable",source="policy"} 40.0
steersman_decisions_total{policy="b",version="1",lane="stable",source="policy"} 2.0
steersman_decisions_total{policy="b",version="1",lane="stable",source="fallback"} 1.0
# HELP steersman_calls_total Calls.
# TYPE steersman_calls_total counter
steersman_calls_total{method="Act",code="ok"} 42.0
steersman_calls_total{method="GetPolicy",code="ok"} 3.0
# HELP steersman_worker_ready_timestamp_seconds Since when.
# TYPE steersman_worker_ready_timestamp_seconds gauge
steersman_worker_ready_timestamp_seconds{worker="0"} 1.7e+09
"""


def _totals(ok: int, policy: int, **decisions: int) -> Totals:
    return Totals({"ok": ok}, {"policy": policy, **decisions}, {})


def test_counters_are_added_up_over_policies_and_other_methods_left_out() -> None:
    totals = parse_totals(TEXT)
    assert totals.calls == {"ok": 42}
    assert totals.decisions == {"policy": 42, "fallback": 1}
    assert totals.ready_unix_s == {"0": 1.7e9}


def test_calls_that_the_policy_answered_pass() -> None:
    verify_counted(_totals(5, 5, fallback=3), _totals(15, 15, fallback=3), 10, "steersman")


def test_counters_that_were_not_there_before_count_from_zero() -> None:
    verify_counted(Totals({}, {}, {}), _totals(10, 10), 10, "steersman")


def test_rows_are_decisions_and_calls_are_those_of_one_method() -> None:
    verify_counted(Totals({}, {}, {}), _totals(2, 128), 2, "steersman", rows=64)
    assert parse_totals(TEXT, "GetPolicy").calls == {"ok": 3}


@pytest.mark.parametrize(
    "after",
    [
        _totals(14, 14),
        _totals(15, 14, fallback=1),
        Totals({"ok": 14, "invalid_argument": 1}, {"policy": 15}, {}),
    ],
    ids=["one was lost", "a fallback answered one", "one failed"],
)
def test_anything_else_is_said(after: Totals) -> None:
    with pytest.raises(BenchmarkError, match="expected 10 calls of 1 rows"):
        verify_counted(_totals(5, 5), after, 10, "steersman")
