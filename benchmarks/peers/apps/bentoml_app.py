"""A BentoML service, one worker: `bentoml serve bentoml_app:PolicyService`."""

from __future__ import annotations

from typing import Any

import bentoml
import numpy as np
from policy import Policy


@bentoml.service(
    workers=1,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 60},
)
class PolicyService:
    """Answers `{"obs": [[...]], "action_mask": [[...]]}` with `{"action": [...]}`."""

    def __init__(self) -> None:
        self._policy = Policy()

    @bentoml.api(route="/predict")
    def predict(self, obs: list[list[float]], action_mask: list[list[bool]]) -> dict[str, Any]:
        """Answers one request."""
        actions = self._policy.act(np.array(obs, np.float32), np.array(action_mask, np.bool_))
        return {"action": actions.tolist()}
