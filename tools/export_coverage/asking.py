"""Questions to the model that still lives: its actions, and how near it was to choosing otherwise.

Nothing of the exporter is used here, so that a mistake of its own oracle shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from tools.export_coverage.environments import mask_segments
from tools.export_coverage.models import Trained

Array = NDArray[Any]
State = tuple[Array, Array] | None

TIE = 1e-6
"""Two choices whose scores are closer than this, relative to scores beyond 1, are equally good."""


@dataclass(frozen=True, slots=True)
class Asked:
    """N rows that the model is asked about.

    Attributes:
        observations: Raw, as the environment gave them: an array, or arrays by key.
        state: Hidden and cell state of an LSTM, each [layers, N, size].
        start: [N], true where an episode begins.
        masks: [N, mask width].
    """

    observations: Any
    state: State = None
    start: NDArray[np.bool_] | None = None
    masks: NDArray[np.bool_] | None = None


def act(trained: Trained, asked: Asked, *, greedy: bool = True) -> tuple[Array, State]:
    """`model.predict`: actions as the environment takes them [N, ...], and the state that follows."""
    model: Any = trained.model
    masked = {} if asked.masks is None else {"action_masks": asked.masks}
    actions, state = model.predict(
        trained.prepared(asked.observations), asked.state, asked.start, deterministic=greedy, **masked
    )
    return np.asarray(actions), state


def act_masked(trained: Trained, asked: Asked) -> Array:
    """Greedy actions within the masks: `predict` where it takes them, else the best scores allowed."""
    if type(trained.model).__name__ == "MaskablePPO":
        return act(trained, asked)[0]
    best = [scores.argmax(axis=1) for scores in masked_scores(trained, asked)]
    shape = trained.model.action_space.shape or ()
    return np.stack(best, axis=1).reshape(-1, *shape)


def margins(trained: Trained, asked: Asked) -> Array:
    """[N, parts] best score less the second best, relative to scores beyond 1; infinite without a second."""
    parts = []
    for scores in masked_scores(trained, asked):
        best = np.sort(np.pad(scores, ((0, 0), (1, 0)), constant_values=-np.inf), axis=1)
        parts.append((best[:, -1] - best[:, -2]) / np.maximum(1, np.abs(best[:, -1])))
    return np.stack(parts, axis=1)


def masked_scores(trained: Trained, asked: Asked) -> list[Array]:
    """[N, choices] for each part of the action; -inf where the mask forbids."""
    parts = [part.detach().double().numpy() for part in _scores(trained, asked)]
    if asked.masks is None:
        return parts
    ends = np.cumsum(mask_segments(trained.model.action_space))[:-1]
    masks = np.split(asked.masks, ends, axis=1)
    return [np.where(mask, part, -np.inf) for part, mask in zip(parts, masks, strict=True)]


@torch.no_grad()
def _scores(trained: Trained, asked: Asked) -> list[torch.Tensor]:
    policy: Any = trained.model.policy
    observations, _ = policy.obs_to_tensor(trained.prepared(asked.observations))
    match type(trained.model).__name__:
        case "DQN":
            return [policy.q_net(observations)]
        case "QRDQN":
            return [policy.quantile_net(observations).mean(dim=1)]
        case "ARS":
            return [policy.action_net(policy.extract_features(observations, policy.features_extractor))]
        case "RecurrentPPO":
            distribution, _ = policy.get_distribution(observations, *_recurrent(asked))
        case _:
            distribution = policy.get_distribution(observations)
    return _logits(distribution, trained.model.action_space)


def _recurrent(asked: Asked) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    assert asked.state is not None  # noqa: S101  sequences always carry one
    assert asked.start is not None  # noqa: S101
    state = tuple(torch.as_tensor(part, dtype=torch.float32) for part in asked.state)
    return state, torch.as_tensor(asked.start, dtype=torch.float32)


def _logits(distribution: Any, space: spaces.Space[Any]) -> list[torch.Tensor]:
    """Logits by part, of SB3's and sb3-contrib's own distribution objects."""
    if hasattr(distribution, "distributions"):  # masked, several parts
        return [part.logits for part in distribution.distributions]
    inner = distribution.distribution
    if isinstance(space, spaces.MultiBinary):
        return [torch.stack([torch.zeros_like(on), on], dim=1) for on in inner.logits.T]
    return [part.logits for part in inner] if isinstance(inner, list) else [inner.logits]
