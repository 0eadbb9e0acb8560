"""The policy as peers get it: the same weights, without what they have no use for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx.utils import Extractor

from benchmarks.mlp import build_model
from benchmarks.peers.wire import Mask, Observation
from benchmarks.policies import PolicyShape

Oracle = Callable[[Observation, Mask], int]
"""From an observation [features] and a mask [actions] to the right action."""


def write_model(shape: PolicyShape, file: Path) -> Oracle:
    """Writes the greedy part of the policy's graph, as Steersman runs it too, and returns what it answers.

    Inputs `obs` and `action_mask`, output `action`. There is no noise to feed and nothing to sample.
    """
    whole = onnx.load_from_string(build_model(shape.widths, digest="0" * 64))
    onnx.save(Extractor(whole).extract_model(["obs", "action_mask"], ["action"]), str(file))
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def act(observation: Observation, mask: Mask) -> int:
        feeds = {"obs": observation[np.newaxis], "action_mask": mask[np.newaxis]}
        return int(np.asarray(session.run(["action"], feeds)[0]).item())

    return act
