import numpy as np
import pytest
from benchmarks.errors import BenchmarkError
from benchmarks.h2load import Summary, parse_log, parse_summary, verify

OUTPUT = """\
starting benchmark...
spawning thread #0: 8 total client(s). 1000 total requests
Application protocol: h2c
progress: 100% done

finished in 456.78ms, 2189.24 req/s, 270.51KB/s
requests: 1000 total, 1000 started, 1000 done, 998 succeeded, 2 failed, 2 errored, 0 timeout
status codes: 998 2xx, 0 3xx, 0 4xx, 2 5xx
traffic: 123.54KB (126505) total, 10.84KB (11105) headers (space savings 93.40%), 79.10KB (81000) data
                     min         max         mean         sd        +/- sd
time for request:      301us      2.61ms       502us       245us    88.60%
"""
LOG = "1700000000000000\t200\t500\n1700000000000400\t200\t1600\n1700000000001000\t200\t300\n"


def test_the_summary_is_read() -> None:
    assert parse_summary(OUTPUT) == Summary(requests=1000, succeeded=998, status_2xx=998, data_bytes=81000)


def test_anything_else_is_shown() -> None:
    with pytest.raises(BenchmarkError, match="Could not resolve"):
        parse_summary("Could not resolve host: nowhere")


def test_all_calls_answered_with_the_right_size_pass() -> None:
    verify(Summary(10, 10, 10, 810), calls=10, answer_bytes=81)


@pytest.mark.parametrize(
    "summary",
    [Summary(10, 9, 9, 729), Summary(10, 10, 9, 810), Summary(10, 10, 10, 729), Summary(9, 9, 9, 729)],
    ids=["one failed", "one was no 200", "one was a gRPC error, which has no body", "one too few"],
)
def test_calls_that_are_missing_or_failed_are_found(summary: Summary) -> None:
    with pytest.raises(BenchmarkError, match="data_bytes=810"):
        verify(summary, calls=10, answer_bytes=81)


def test_the_log_gives_latencies_and_the_time_between_first_start_and_last_end() -> None:
    run = parse_log(LOG)
    assert run.latencies_us.tolist() == [500, 1600, 300]
    assert run.latencies_us.dtype == np.float64
    assert run.seconds == pytest.approx(2000e-6)


@pytest.mark.parametrize("text", ["", "1\t200\n", "a\tb\tc\n"], ids=["empty", "short", "words"])
def test_a_log_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(BenchmarkError, match="cannot be read"):
        parse_log(text)
