"""Which algorithm a zip is of. The file does not say; the policy's class and the saved fields do.

The class narrows it down, most often to one. Of those that use the same class, fields that only one of them
has tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from steersman.export.errors import ExportUsageError
from steersman.export.vocabulary import Algorithm

_BY_CLASS: Final = {
    "sb3_contrib.ars.policies.ARSPolicy": (Algorithm.ARS,),
    "sb3_contrib.common.maskable.policies.MaskableActorCriticPolicy": (Algorithm.MASKABLE_PPO,),
    "sb3_contrib.common.recurrent.policies.RecurrentActorCriticPolicy": (Algorithm.RECURRENT_PPO,),
    "sb3_contrib.crossq.policies.CrossQPolicy": (Algorithm.CROSSQ,),
    "sb3_contrib.qrdqn.policies.QRDQNPolicy": (Algorithm.QRDQN,),
    "sb3_contrib.tqc.policies.TQCPolicy": (Algorithm.TQC,),
    "stable_baselines3.common.policies.ActorCriticPolicy": (Algorithm.PPO, Algorithm.A2C, Algorithm.TRPO),
    "stable_baselines3.dqn.policies.DQNPolicy": (Algorithm.DQN,),
    "stable_baselines3.sac.policies.SACPolicy": (Algorithm.SAC,),
    "stable_baselines3.td3.policies.TD3Policy": (Algorithm.TD3, Algorithm.DDPG),
}
"""Algorithms whose policies are of these classes, or derive from them."""

_BEFORE_CLASSES: Final = (
    *(Algorithm.PPO, Algorithm.A2C, Algorithm.DQN, Algorithm.SAC, Algorithm.TD3, Algorithm.DDPG),
    *(Algorithm.TQC, Algorithm.QRDQN),
)
"""Algorithms of SB3 0.x, which did not save the policy's class."""

_SIGNS: Final = (
    ({Algorithm.TRPO}, {"cg_max_steps"}),
    ({Algorithm.ARS}, {"n_delta"}),
    ({Algorithm.TQC}, {"top_quantiles_to_drop_per_net"}),
    ({Algorithm.SAC}, {"target_entropy", "target_update_interval"}),
    ({Algorithm.CROSSQ}, {"target_entropy"}),
    ({Algorithm.TD3, Algorithm.DDPG}, {"target_policy_noise"}),
    ({Algorithm.QRDQN}, {"exploration_fraction", "n_quantiles"}),
    ({Algorithm.DQN}, {"exploration_fraction"}),
    ({Algorithm.PPO, Algorithm.MASKABLE_PPO, Algorithm.RECURRENT_PPO}, {"clip_range", "n_epochs"}),
    ({Algorithm.A2C}, {"gae_lambda", "n_steps", "vf_coef"}),
)
"""Fields that tell algorithms apart, the most telling first."""


def infer_algorithm(
    fields: Mapping[str, Any],
    policy_class: type[Any] | None,
    path: Path,
    asked: Algorithm | None = None,
    *,
    from_run: bool = False,
) -> Algorithm:
    """The algorithm; `asked` overrules what the fields suggest, but not what the policy's class is.

    Args:
        fields: The JSON of the file.
        policy_class: The policy's class; None where the file does not name it.
        path: The file, for errors.
        asked: What `--algo` says, or the run.
        from_run: Whether it is the run.

    Raises:
        ExportUsageError: It cannot be told, or the policy is not one of the algorithm asked for.
    """
    possible = _by_class(policy_class)
    if asked is not None:
        if asked not in possible:
            policy_name = policy_class.__name__ if policy_class else "policy of SB3 0.x"
            said = f"{asked}, as the run says," if from_run else f"--algo {asked}"
            raise ExportUsageError(
                f"{said} does not fit the policy, which is a {policy_name}",
                where=str(path),
                expected=_listed(possible),
                hint="Say what it is with --algo." if from_run else None,
            )
        return asked
    left = _by_fields(fields, possible)
    if len(left) != 1:
        raise ExportUsageError(
            f"the algorithm cannot be told from the file: it may be {_listed(left)}",
            where=str(path),
            hint="Name it with --algo.",
        )
    return left[0]


def _by_class(policy_class: type[Any] | None) -> Sequence[Algorithm]:
    """All of them where the class is one that nobody knows."""
    if policy_class is None:
        return _BEFORE_CLASSES
    names = (f"{base.__module__}.{base.__qualname__}" for base in policy_class.__mro__)
    return next((_BY_CLASS[name] for name in names if name in _BY_CLASS), tuple(Algorithm))


def _by_fields(fields: Mapping[str, Any], possible: Sequence[Algorithm]) -> Sequence[Algorithm]:
    """Those of the possible ones that the fields leave."""
    signs = (found & set(possible) for found, names in _SIGNS if names <= fields.keys())
    left = next((found for found in signs if found), set(possible))
    if left == {Algorithm.TD3, Algorithm.DDPG}:
        return (_td3_or_ddpg(fields),)
    return [algorithm for algorithm in possible if algorithm in left]


def _td3_or_ddpg(fields: Mapping[str, Any]) -> Algorithm:
    """SB3's DDPG is its TD3 with three settings fixed; the policies are the same either way."""
    settings = (fields.get("policy_delay"), fields.get("target_noise_clip"))
    return Algorithm.DDPG if settings == (1, 0.0) else Algorithm.TD3


def _listed(algorithms: Sequence[Algorithm]) -> str:
    return " or ".join(algorithms)
