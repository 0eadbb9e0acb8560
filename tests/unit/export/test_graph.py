"""The graph against SB3 itself, for every kind of space, network and normalization that export covers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from steersman.bundle.session import CONTRACT_KEY
from steersman.export.evidence.parity import check_parity, draw_inputs
from unit.export.conftest import Graph
from unit.export.models import CASES, Case

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
def test_greedy_actions_are_those_of_sb3(graph: Graph, case: Case) -> None:
    made = graph(case)
    observations = made.observations(2_000)
    (found,) = made.session.run(("action",), made.session.feeds({"obs": observations}))
    expected = made.trained.predict(observations)
    assert found.dtype == made.saved.action_space.dtype
    if case.action == "shifted":
        expected += -1  # SB3 counts choices from 0, the environment from `start`
    assert np.abs(found.astype(np.float64) - expected).max() <= 1e-5


@every_case
def test_every_output_agrees_with_the_policy(graph: Graph, case: Case) -> None:
    made = graph(case)
    inputs = draw_inputs(made.observations(1_000), made.bench.contract, np.random.default_rng(1))
    parity = check_parity(made.session, made.oracle, inputs, tie_gap=1e-6)
    assert (parity.states, parity.disagreements) == (1_000, 0)
    assert parity.max_parameter_error < 1e-4


@every_case
def test_rows_never_influence_each_other(graph: Graph, case: Case) -> None:
    made = graph(case)
    names = made.bench.contract.outputs
    inputs = draw_inputs(made.observations(211), made.bench.contract, np.random.default_rng(2))
    feeds = inputs.feeds(made.bench.contract)
    whole = made.session.run(names, feeds)
    for size in (1, 2, 3, 5, 8, 32):
        for first in range(0, 211, size):
            rows = {name: array[first : first + size] for name, array in feeds.items()}
            for name, part, full in zip(names, made.session.run(names, rows), whole, strict=True):
                assert part.tobytes() == full[first : first + size].tobytes(), (name, size, first)


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


@pytest.mark.parametrize("case", [c for c in CASES if c.action in {"five", "shifted"}], ids=lambda c: c.name)
def test_masked_choices_are_never_taken(graph: Graph, case: Case) -> None:
    made = graph(case)
    contract = made.bench.contract
    rng = np.random.default_rng(3)
    mask = rng.random((500, contract.mask_width)) < 0.4
    mask[np.arange(500), rng.integers(contract.mask_width, size=500)] = True
    noise = rng.uniform(1e-6, 1 - 1e-6, mask.shape).astype(np.float32)
    feeds = made.session.feeds({"obs": made.observations(500)}, mask, noise)
    names = ("action", "sampled_action", "log_prob", "entropy", "distribution")
    action, sampled, log_prob, entropy, distribution = made.session.run(names, feeds)
    start = contract.action.start  # type: ignore[union-attr]
    for choice in (action - start, sampled - start):
        assert mask[np.arange(500), choice].all()
    assert np.isneginf(distribution[~mask]).all()
    assert np.allclose(np.exp(distribution).sum(axis=1), 1.0, atol=1e-5)
    single = mask.sum(axis=1) == 1
    assert single.any()
    assert (np.abs(log_prob[single]) < 1e-6).all()
    assert (np.abs(entropy[single]) < 1e-6).all()


def test_sampled_choices_follow_the_distribution(graph: Graph) -> None:
    made = graph(CASES[1])
    draws, rng = 40_000, np.random.default_rng(4)
    observations = np.repeat(made.observations(1), draws, axis=0)
    mask = np.tile(np.array([True, True, False, True, True]), (draws, 1))
    noise = ((rng.integers(2**23, size=mask.shape) + 0.5) * 2.0**-23).astype(np.float32)
    sampled, distribution = made.session.run(
        ("sampled_action", "distribution"), made.session.feeds({"obs": observations}, mask, noise)
    )
    shares = np.exp(distribution[0].astype(np.float64))
    expected = draws * shares / shares.sum()
    counts = np.bincount(sampled, minlength=5)
    allowed = mask[0] & (expected > 5)
    chi_square = float((np.square(counts - expected)[allowed] / expected[allowed]).sum())
    assert counts[2] == 0
    assert chi_square < 18.5  # 99.9 % of chi-square with 4 degrees of freedom


def test_sampled_actions_are_the_gaussian_clipped(graph: Graph) -> None:
    made = graph(next(case for case in CASES if case.action == "arm" and not case.policy_kwargs))
    draws = 20_000
    noise = np.random.default_rng(5).standard_normal((draws, 3)).astype(np.float32)
    observations = np.repeat(made.observations(1), draws, axis=0)
    sampled, distribution = made.session.run(
        ("sampled_action", "distribution"), made.session.feeds({"obs": observations}, noise=noise)
    )
    mean, spread = distribution[0, :3], np.exp(distribution[0, 3:])
    space = made.saved.action_space
    assert np.allclose(sampled, np.clip(mean + spread * noise, space.low, space.high), atol=1e-5)  # type: ignore[union-attr]
    assert (sampled <= space.high).all()  # type: ignore[union-attr]
    assert (sampled == space.high).any()  # type: ignore[union-attr]
