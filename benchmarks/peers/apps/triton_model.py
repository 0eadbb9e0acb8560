"""Triton's python backend: the requests that dynamic batching has gathered become one ONNX Runtime run."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from policy import Policy


class TritonPythonModel:
    """What the backend looks for in `model.py`."""

    def initialize(self, _args: dict[str, str]) -> None:
        """Loads the policy."""
        self._policy = Policy()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers requests of any number of rows each."""
        observations = [_input(request, "obs") for request in requests]
        masks = [_input(request, "action_mask") for request in requests]
        if len(requests) == 1:
            return [_response(self._policy.act(observations[0], masks[0]))]
        actions = self._policy.act(np.concatenate(observations), np.concatenate(masks))
        ends = np.cumsum([len(rows) for rows in observations])
        return [_response(rows) for rows in np.split(actions, ends[:-1])]


def _input(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _response(actions: Any) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("action", actions)])
