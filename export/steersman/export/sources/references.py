"""The reference that drift will be measured against, one per serving mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import feature_matrix, has_named_features
from steersman.bundle.manifest import ReferenceInfo
from steersman.bundle.reference import Reference, pack_references
from steersman.bundle.specs import Contract
from steersman.export.observations import Array
from steersman.export.sources.episodes import Episode, Rollout
from steersman.monitoring.columns import watched_features
from steersman.monitoring.reference import build_reference
from steersman.monitoring.resampling import REPLICATES

SYNTHETIC_REPLICATES = 2_000
"""Resamplings where the reference is samples of the space: drift against it says little, however exact."""


def pack_rollouts(rollouts: Sequence[Rollout], contract: Contract, seed: int) -> bytes:
    """The bytes of `reference.npz`."""
    return pack_references({rollout.mode: _reference(rollout, contract, seed) for rollout in rollouts})


def _reference(rollout: Rollout, contract: Contract, seed: int) -> Reference:
    """One mode's. Samples of the space have no joint distance: every combination of values is among them."""
    measured = [_measured(episode, contract) for episode in rollout.episodes]
    reference = build_reference(
        [features for features, _ in measured],
        [actions for _, actions in measured],
        contract,
        seed=seed,
        replicates=SYNTHETIC_REPLICATES if rollout.synthetic else REPLICATES,
    )
    return replace(reference, joint=None) if rollout.synthetic else reference


def _measured(episode: Episode, contract: Contract) -> tuple[NDArray[np.float64], Array]:
    """Features and actions of the same steps: of all, or with features of those whose rows are kept."""
    if not has_named_features(contract):
        return np.empty((len(episode.actions), 0)), episode.actions
    return feature_matrix(episode.inputs.observations, contract), episode.actions[episode.kept]


def describe_rollouts(rollouts: Sequence[Rollout], contract: Contract) -> ReferenceInfo:
    """What the manifest says about it."""
    return ReferenceInfo(
        synthetic=any(rollout.synthetic for rollout in rollouts),
        source=rollouts[0].origin,
        features=len(watched_features(contract)),
        episodes={r.mode: len(r.episodes) for r in rollouts},
        steps={r.mode: r.steps for r in rollouts},
        mean_return={r.mode: r.mean_return for r in rollouts if r.mean_return is not None},
    )
