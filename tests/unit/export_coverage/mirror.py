"""A graph that answers as the model itself does, with faults to order."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tools.export_coverage.asking import Asked, act, act_masked
from tools.export_coverage.graph import rows
from tools.export_coverage.models import Trained

Fault = Callable[[np.ndarray], np.ndarray]


def none(actions: np.ndarray) -> np.ndarray:
    return actions


@dataclass
class Mirror:
    """What `Graph` offers, answered by SB3.

    Attributes:
        fault: Done to the greedy actions before they are given.
        forgets: Never takes note that an episode begins.
        unmasked: Takes no note of masks.
    """

    trained: Trained
    fault: Fault = none
    forgets: bool = False
    unmasked: bool = False
    contract: Any = field(init=False)

    def __post_init__(self) -> None:
        recurrent = hasattr(self.trained.model.policy, "lstm_actor")
        noise = SimpleNamespace(law="normal", width=1)
        self.contract = SimpleNamespace(state=("lstm",) if recurrent else (), noise=noise)

    def run(self, output: str, observations: Any, masks: Any = None, noise: Any = None) -> np.ndarray:
        size = rows(observations)
        if output == "sampled_action":
            torch.manual_seed(23)
            return self.given(act(self.trained, Asked(observations), greedy=False)[0])
        start = np.ones(size, np.bool_) if self.contract.state else None
        return self.answer(Asked(observations, self.remembered(size), start, masks))

    def step(self, observations: Any, state: Any, start: np.ndarray, masks: Any = None) -> Any:
        state = self.remembered(len(start)) if state is None else state
        asked = Asked(observations, state, np.zeros_like(start) if self.forgets else start, masks)
        return self.answer(asked), act(self.trained, replace(asked, masks=None))[1]

    def answer(self, asked: Asked) -> np.ndarray:
        if asked.masks is not None and not self.unmasked:
            return self.given(act_masked(self.trained, asked))
        return self.given(act(self.trained, replace(asked, masks=None))[0])

    def given(self, actions: np.ndarray) -> np.ndarray:
        return self.fault(actions.copy()) + getattr(self.trained.model.action_space, "start", 0)

    def remembered(self, size: int) -> Any:
        if not self.contract.state:
            return None
        layers, _, width = self.trained.model.policy.lstm_hidden_state_shape
        return (np.zeros((layers, size, width), np.float32),) * 2
