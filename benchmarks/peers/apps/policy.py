"""The policy as every peer runs it: ONNX Runtime with one thread, greedy actions under a mask."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

MODEL_VARIABLE = "STEERSMAN_PEER_MODEL"
"""Environment variable that holds the path of the ONNX file."""


class Policy:
    """The model in a session with one intra-op thread, the setting that is best on a shared machine."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            os.environ[MODEL_VARIABLE], options, providers=["CPUExecutionProvider"]
        )

    def act(self, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Observations [N, features] and masks [N, actions] to actions [N]."""
        actions: NDArray[np.int64] = self._session.run(
            ["action"], {"obs": observations, "action_mask": masks}
        )[0]
        return actions
