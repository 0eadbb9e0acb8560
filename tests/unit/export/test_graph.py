"""Graphs of trained models, statistics included: against SB3 itself, and as files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from steersman.bundle.session import CONTRACT_KEY
from steersman.export.evidence.parity import check_parity
from unit.export.conftest import Graph
from unit.export.models import CASES, Case

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
def test_greedy_actions_are_those_of_sb3(graph: Graph, case: Case) -> None:
    made = graph(case)
    observations = made.observations(2_000)
    (found,) = made.session.run(("action",), made.session.feeds(observations))
    expected = made.trained.predict(observations["obs"])
    assert found.dtype == made.saved.action_space.dtype
    if case.action == "shifted":
        expected += -1  # SB3 counts choices from 0, the environment from `start`
    assert np.abs(found.astype(np.float64) - expected).max() <= 1e-5


@every_case
def test_every_output_agrees_with_the_policy(graph: Graph, case: Case) -> None:
    made = graph(case)
    findings = check_parity(made.session, made.oracle, made.inputs(1_000, seed=1), tie_gap=1e-6)
    assert (findings.parity.states, findings.parity.disagreements) == (1_000, 0)
    assert findings.parity.max_parameter_error < 1e-4
    assert all(len(apart) == 1_000 for apart in findings.differences.values())


@every_case
def test_the_graph_tells_nothing_of_the_machine(graph: Graph, case: Case) -> None:
    model = graph(case).bench.model
    onnx.checker.check_model(model, full_check=True)
    assert {p.key for p in model.metadata_props} == {CONTRACT_KEY, "steersman.policy", "steersman.opset"}
    data = model.SerializeToString()
    for word in (b".py", b"site-packages", b"/home", b"/root", b"/tmp", b"Traceback", b"pkg.torch"):
        assert word not in data


def test_the_batch_axis_is_named_and_free(graph: Graph) -> None:
    model = graph(CASES[0]).bench.model
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
