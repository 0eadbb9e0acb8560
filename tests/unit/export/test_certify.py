"""The certificate that export writes: which rows it has, and what it notices."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from steersman.bundle.certificate import Certificate, run_certificate
from steersman.export.errors import ExportError, ParityError
from steersman.export.evidence.certify import measure_tolerance, write_certificate
from steersman.export.evidence.parity import check_parity
from steersman.export.evidence.states import States, boundary_states
from steersman.export.policies.graph import label_graph
from steersman.export.policies.inputs import Inputs
from steersman.export.vocabulary import Scheme
from unit.export.conftest import NORMALIZED, Graph
from unit.export.models import CASES, Case, Graphed

FIVE = CASES[1]


def certified(made: Graphed) -> Certificate:
    rng = np.random.default_rng(6)
    usual = made.observations(3_000)
    edges = boundary_states(made.bench.contract.observations, usual, rng)
    rows = Inputs(usual)
    states = States(rows.take(slice(1_000)), rows.take(slice(1_000, None)), np.arange(2_000), Inputs(edges))
    return write_certificate(made.oracle, made.session, states, 1e-4, rng)


@pytest.mark.parametrize("case", [FIVE, NORMALIZED], ids=lambda case: case.name)
def test_fp32_passes_with_a_tight_tolerance(graph: Graph, case: Case) -> None:
    made = graph(case)
    certificate = certified(made)
    tolerance = measure_tolerance(made.session, certificate, exact=True)
    result = run_certificate(made.session, certificate, tolerance)
    assert (result.passed, result.flips) == (True, 0)
    assert tolerance.atol < 1e-3
    assert tolerance.flip_rate == 0
    again = Certificate.unpack(certificate.pack(), "here")
    assert run_certificate(made.session, again, tolerance) == result


def test_it_has_rows_of_every_kind(graph: Graph) -> None:
    made = graph(FIVE)
    certificate = certified(made)
    mask = certificate.inputs["action_mask"]
    assert len(mask) == 512
    allowed = mask.sum(axis=1)
    assert {1, 2, 3, 5} <= set(allowed.tolist())
    assert allowed.min() >= 1
    low = made.bench.contract.observations[0].low[0]
    assert (certificate.inputs["obs"] == low).all(axis=1).any()
    best = np.sort(certificate.expected["distribution"], axis=1)
    with np.errstate(invalid="ignore"):
        gaps = best[:, -1] - best[:, -2]
    assert (gaps < np.median(gaps) / 20).any()
    assert certificate.tie.mean() < 0.05


def test_a_changed_weight_is_noticed(graph: Graph) -> None:
    made = graph(FIVE)
    certificate = certified(made)
    tolerance = measure_tolerance(made.session, certificate, exact=True)
    changed = spoiled(made)
    result = run_certificate(made.bench.candidate(changed, Scheme.FLOAT32).session, certificate, tolerance)
    assert not result.passed
    assert any("distribution" in failure for failure in result.failures)


def test_parity_refuses_a_graph_that_answers_otherwise(graph: Graph) -> None:
    for case in (FIVE, NORMALIZED):
        made = graph(case)
        session = made.bench.candidate(spoiled(made, by=0.5), Scheme.FLOAT32).session
        inputs = made.inputs(500)
        with pytest.raises(ParityError, match="SB3"):
            check_parity(session, made.oracle, inputs, tie_gap=1e-6)


def test_rows_that_influence_each_other_are_refused(graph: Graph) -> None:
    made = graph(CASES[0])
    certificate = certified(made)
    mixed = onnx.ModelProto()
    mixed.CopyFrom(made.bench.model)
    value = next(node for node in mixed.graph.node if "value" in node.output)
    value.output[0] = "own_value"
    mixed.graph.node.append(onnx.helper.make_node("ReduceMax", ["own_value"], ["largest"], keepdims=1))
    mixed.graph.node.append(onnx.helper.make_node("Max", ["own_value", "largest"], ["value"]))
    session = made.bench.candidate(mixed, Scheme.FLOAT32).session
    with pytest.raises(ExportError, match="value has other bits alone"):
        measure_tolerance(session, certificate, exact=False)


def spoiled(made: Graphed, by: float = 0.01) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(made.bench.model)
    for tensor in model.graph.initializer:
        if _is_of_the_actor(tensor):
            weights = numpy_helper.to_array(tensor) * np.float32(1 + by)
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    label_graph(model, "drift", made.bench.digest)
    return model


def _is_of_the_actor(tensor: onnx.TensorProto) -> bool:
    return "policy_net" in tensor.name or "action_net" in tensor.name
