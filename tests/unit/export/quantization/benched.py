"""Graphs of untrained policies with states to quantize them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from steersman.bundle.digest import contract_digest
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import Contract
from steersman.export.evidence.comparison import all_feeds
from steersman.export.policies.contract import action_spec, build_contract, observation_specs
from steersman.export.policies.families import family_of
from steersman.export.policies.graph import build_graph, check_graph, label_graph
from steersman.export.policies.inputs import Inputs, draw_inputs
from steersman.export.policies.preparation import Preparation
from steersman.export.quantization.quantize import quantize
from steersman.export.quantization.variants import Workbench
from steersman.export.reading.load import SavedPolicy
from steersman.export.vocabulary import Scheme
from unit.export.policies.made import AnySpace, sample

Array = NDArray[Any]


@dataclass(frozen=True)
class Benched:
    """A graph, loaded, and the spaces of what it takes."""

    bench: Workbench
    session: PolicySession
    space: AnySpace

    @property
    def contract(self) -> Contract:
        return self.bench.contract

    def inputs(self, rows: int, seed: int = 0) -> Inputs:
        """Everything that the graph takes, at random."""
        drawn = Inputs(sample(self.space, rows, seed))
        return draw_inputs(drawn, self.contract, np.random.default_rng(seed))

    def feeds(self, rows: int, seed: int = 0) -> dict[str, Array]:
        """The same by graph input name."""
        return all_feeds(self.session, self.inputs(rows, seed))

    def quantized(self, scheme: Scheme, rows: int = 300) -> onnx.ModelProto:
        """A checked variant."""
        model = quantize(self.bench.model, scheme, self.feeds(rows, seed=9))
        assert model is not None
        return check_graph(model)

    def load(self, model: onnx.ModelProto, scheme: Scheme) -> PolicySession:
        """A session of a variant."""
        return self.bench.candidate(model, scheme).session


def bench(policy: SavedPolicy) -> Benched:
    """The graph of a policy."""
    family, preparation = family_of(policy), Preparation()
    action = action_spec(policy.action_space)
    observations = observation_specs(policy.observation_space)
    contract = build_contract(observations, action, family.traits, preparation)
    model = build_graph(family.graph(preparation, action), contract)
    digest = contract_digest(contract)
    label_graph(model, "benched", digest)
    made = Workbench(model, contract, digest)
    return Benched(made, made.candidate(model, Scheme.FLOAT32).session, policy.observation_space)


def run_time_operators(model: onnx.ModelProto, folder: Path) -> list[str]:
    """What ONNX Runtime makes of a graph."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


def assert_rows_alone(session: PolicySession, feeds: Mapping[str, Array]) -> None:
    """Rows have the same bits in small batches as in a large one."""
    names = session.contract.outputs
    whole = session.run(names, feeds)
    rows = len(whole[0])
    for size in (1, 3, 8):
        for first in range(0, rows, size):
            part = {name: array[first : first + size] for name, array in feeds.items()}
            for name, found, full in zip(names, session.run(names, part), whole, strict=True):
                assert found.tobytes() == full[first : first + size].tobytes(), (name, size, first)
