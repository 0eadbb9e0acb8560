"""The reference that drift will be measured against, one per serving mode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import named_feature_matrix
from steersman.bundle.manifest import ReferenceInfo
from steersman.bundle.reference import pack_references
from steersman.bundle.specs import Contract
from steersman.export.sources.rollouts import Episode, Rollout
from steersman.monitoring.columns import watched_features
from steersman.monitoring.reference import build_reference


def pack_rollouts(rollouts: Sequence[Rollout], contract: Contract, seed: int) -> bytes:
    """The bytes of `reference.npz`."""
    return pack_references(
        {
            rollout.mode: build_reference(
                [_features(episode, contract) for episode in rollout.episodes],
                [episode.actions for episode in rollout.episodes],
                contract,
                seed=seed,
            )
            for rollout in rollouts
        }
    )


def _features(episode: Episode, contract: Contract) -> NDArray[np.float64]:
    return named_feature_matrix({contract.observations[0].input_name: episode.observations}, contract)


def describe_rollouts(rollouts: Sequence[Rollout], contract: Contract) -> ReferenceInfo:
    """What the manifest says about it."""
    return ReferenceInfo(
        synthetic=any(rollout.synthetic for rollout in rollouts),
        features=len(watched_features(contract)),
        episodes={r.mode: len(r.episodes) for r in rollouts},
        steps={r.mode: r.steps for r in rollouts},
        mean_return={r.mode: r.mean_return for r in rollouts if r.mean_return is not None},
    )
