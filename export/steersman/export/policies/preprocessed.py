"""SB3's own networks, fed with what `ObservationReader` has already preprocessed."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from steersman.export.policies.networks import exportable


def takes_preprocessed(policy: BasePolicy, name: str) -> Any:
    """A copy of one of the policy's networks that takes observations as `preprocess_obs` leaves them.

    SB3's preprocessing checks values and stops the whole batch on one bad row. Everything after it is the
    network's own code, so what a subclass overrides is exported as it is.
    """
    network: Any = exportable(policy, (name,))[name]
    network.extract_features = _extract
    return network


def _extract(observations: PyTorchObs, extractor: BaseFeaturesExtractor) -> Tensor:
    features: Tensor = extractor(observations)
    return features
