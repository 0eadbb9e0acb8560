"""Filling a policy with the weights of a file: everything that it answers with must be there and fit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from steersman.export.errors import DamagedFileError
from steersman.export.vocabulary import Algorithm

TRAINING_NETWORKS: Mapping[Algorithm, tuple[str, ...]] = {
    Algorithm.DQN: ("q_net_target.",),
    Algorithm.QRDQN: ("quantile_net_target.",),
    Algorithm.SAC: ("critic.", "critic_target."),
    Algorithm.TQC: ("critic.", "critic_target."),
    Algorithm.CROSSQ: ("critic.",),
    Algorithm.TD3: ("actor_target.", "critic.", "critic_target."),
    Algorithm.DDPG: ("actor_target.", "critic.", "critic_target."),
}
"""Networks that only training uses. `predict` of these policies asks the actor, or the network of Q-values or
quantiles, and nothing else (`_predict` of each in its `policies.py`). SB3 0.x named critics otherwise; they
may be missing here or of any shape."""


def fill(policy: BasePolicy, weights: Mapping[str, Tensor], spare: tuple[str, ...], where: str) -> None:
    """Loads the weights.

    Args:
        policy: Takes them, in place.
        weights: By name, as the file has them.
        spare: Beginnings of names that may be missing, be unknown or not fit.
        where: The file, for errors.

    Raises:
        DamagedFileError: One is missing, is of another shape, has no place, or is not finite.
    """
    own = policy.state_dict(keep_vars=True)
    given = _renamed(weights, own)
    complaints = [
        f"{name} {complaint}"
        for name in {**own, **given}
        if not name.startswith(spare) and (complaint := _complaint(name, own, given))
    ]
    if complaints:
        more = f", and {len(complaints) - 1} more" if len(complaints) > 1 else ""
        raise DamagedFileError(
            f"the weights do not fit the policy that it describes: {complaints[0]}{more}", where=where
        )
    needed = [name for name in given if not name.startswith(spare)]
    kept = {id(own[name]) for name in needed}
    extra = [name for name in given if name in own and id(own[name]) not in kept]
    fitting = [*needed, *(name for name in extra if given[name].shape == own[name].shape)]
    policy.load_state_dict({name: given[name] for name in fitting}, strict=False)


def _complaint(name: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """What is wrong with a weight.

    One tensor of a policy may go by several names: since 1.7 SB3 gives `pi_features_extractor` and
    `vf_features_extractor` to what is shared. One name is then enough, and several must agree.
    """
    if name not in own:
        return "has no place"
    names = [other for other in given if other in own and own[other] is own[name]]
    if name not in given:
        return None if names else "is missing"
    if given[name].shape != own[name].shape:
        return f"is {_shape(given[name])} where {_shape(own[name])} is expected"
    if not torch.isfinite(given[name]).all():
        return "holds numbers that are not finite; training diverged"
    if not torch.equal(given[name], given[names[0]]):
        return f"differs from {names[0]}, which is the same layer"
    return None


def _renamed(weights: Mapping[str, Tensor], own: Mapping[str, object]) -> dict[str, Tensor]:
    """The linear policy of ARS was one layer before sb3-contrib 1.7, and is a sequence of one since."""
    former = {"action_net.weight": "action_net.0.weight", "action_net.bias": "action_net.0.bias"}
    return {former[name] if former.get(name) in own else name: tensor for name, tensor in weights.items()}


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
