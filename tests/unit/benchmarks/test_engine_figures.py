"""That the benchmarks still fit the engine; nothing about how long anything takes."""

import numpy as np
import pytest
from benchmarks.client_load import client_load
from benchmarks.engine_figures import measure_engine
from benchmarks.engine_kit import call_of, lane_of, request_of
from benchmarks.engine_parts import parts
from benchmarks.errors import BenchmarkError
from benchmarks.exchange import Exchange, check_server, framed
from benchmarks.policies import DEMO
from benchmarks.servers import ECHO_MODULES, echo

from steersman.serving.deciding.engine import Engine
from steersman.serving.decision import Decisions
from steersman.serving.rpc.convert import encode_decisions
from steersman.serving.rpc.describe import describe_policy


def _exchange(engine: Engine) -> Exchange:
    request = request_of(DEMO)
    (decisions,) = engine.decide([call_of(DEMO)])
    assert isinstance(decisions, Decisions)
    response = encode_decisions(decisions, request).SerializeToString()
    description = describe_policy(engine.routing, DEMO.name).SerializeToString()
    return Exchange(DEMO.name, *DEMO.row(), request.SerializeToString(), response, description)


def test_the_bundle_keeps_the_mask(engine: Engine) -> None:
    (free,) = engine.decide([call_of(DEMO)])
    assert isinstance(free, Decisions)
    session = lane_of(engine, DEMO).loaded.session
    mask = np.arange(DEMO.actions)[None] != free.actions[0]
    (action,) = session.run(("action",), session.feeds({"obs": DEMO.row()[0][None]}, mask))
    assert action[0] != free.actions[0]


@pytest.mark.parametrize("rows", [1, 3])
def test_every_part_runs_and_is_timed(engine: Engine, rows: int) -> None:
    figures = measure_engine(engine, DEMO, rows, rounds=1, seconds=0.0)
    assert set(parts(engine, DEMO, [call_of(DEMO)])) < set(figures.times_us)
    assert figures.rows == rows
    assert figures.safety_us_per_row > 0
    assert figures.record_us_per_row > 0


@pytest.mark.parametrize("name", ECHO_MODULES)
def test_the_echo_gives_back_the_answer_to_any_caller(engine: Engine, name: str) -> None:
    exchange = _exchange(engine)
    with echo(exchange, name) as server:
        check_server(server.address, exchange)
        assert len(client_load(exchange)(server.address, 3).latencies_us) == 3


def test_an_answer_of_another_size_is_no_match(engine: Engine) -> None:
    exchange = _exchange(engine)
    longer = Exchange(DEMO.name, *DEMO.row(), exchange.request, exchange.response + b"\0", b"")
    with echo(exchange) as server, pytest.raises(BenchmarkError, match="expected"):
        check_server(server.address, longer)


def test_a_message_is_framed_as_in_the_grpc_specification() -> None:
    assert framed(b"abc") == b"\x00\x00\x00\x00\x03abc"
