"""The hyperparameters of each algorithm: names, ranges and SB3's defaults, as plain data.

A value out of range, of the wrong type, or under an unknown name is refused here, before SB3 sees it:
its constructors accept most mistakes and fail many steps later. A test holds names and defaults
against SB3's signatures.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from steersman.bundle.validation import close_match
from steersman.training.errors import TrainingUsageError
from steersman.training.explain import first_problem
from steersman.training.vocabulary import Algorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

Fraction = Annotated[float, Field(gt=0, le=1)]
Layers = list[PositiveInt]
LINEAR = re.compile(r"lin_([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)")
"""The zoo's notation: ``lin_0.001`` falls linearly from 0.001 to 0 over the asked timesteps."""


def linear_start(value: object) -> float | None:
    """0.001 for ``lin_0.001``; None for anything that is not such a schedule."""
    written = LINEAR.fullmatch(value) if isinstance(value, str) else None
    return float(written[1]) if written else None


def _schedule(value: object) -> float | str:
    start = linear_start(value)
    if isinstance(value, str) and start is not None and 0 < start < math.inf:
        return value
    if isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < math.inf:
        return value
    raise ValueError("expected a positive number, or lin_0.001 to fall linearly from there to 0")


Schedule = Annotated[float | str, PlainValidator(_schedule)]

ELSEWHERE = {
    "n_envs": "Use --n-envs.",
    "n_timesteps": "Use --timesteps.",
    "total_timesteps": "Use --timesteps.",
    "normalize": "Use --normalize.",
    "seed": "Use --seed.",
    "env": "Use --env.",
    "env_kwargs": "Use --env-kwargs.",
    "policy": "It follows from the observation space.",
}
"""Names that people bring from the zoo or from SB3 and that are options of their own here."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PolicyOptions(_Strict):
    """Shape of the network (SB3's ``policy_kwargs``); what is not set is left to SB3."""

    net_arch: Layers | dict[Literal["pi", "vf"], Layers] | None = None
    activation_fn: Literal["elu", "gelu", "leaky_relu", "relu", "silu", "tanh"] | None = None
    ortho_init: bool | None = None
    log_std_init: float | None = None
    share_features_extractor: bool | None = None
    normalize_images: bool | None = None


class _ActorCritic(_Strict):
    gamma: Fraction = 0.99
    ent_coef: NonNegativeFloat = 0.0
    vf_coef: NonNegativeFloat = 0.5
    max_grad_norm: PositiveFloat = 0.5
    use_sde: bool = False
    sde_sample_freq: Annotated[int, Field(ge=-1)] = -1
    stats_window_size: PositiveInt = 100
    policy_kwargs: PolicyOptions | None = None


class PpoHyperparameters(_ActorCritic):
    """What ``stable_baselines3.PPO`` takes."""

    learning_rate: Schedule = 3e-4
    n_steps: PositiveInt = 2048
    batch_size: Annotated[int, Field(ge=2)] = 64
    n_epochs: PositiveInt = 10
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    clip_range: Schedule = 0.2
    clip_range_vf: Schedule | None = None
    normalize_advantage: bool = True
    target_kl: PositiveFloat | None = None


class A2cHyperparameters(_ActorCritic):
    """What ``stable_baselines3.A2C`` takes."""

    learning_rate: Schedule = 7e-4
    n_steps: PositiveInt = 5
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 1.0
    rms_prop_eps: PositiveFloat = 1e-5
    use_rms_prop: bool = True
    normalize_advantage: bool = False


Hyperparameters = PpoHyperparameters | A2cHyperparameters

MODELS: dict[Algorithm, type[Hyperparameters]] = {
    Algorithm.PPO: PpoHyperparameters,
    Algorithm.A2C: A2cHyperparameters,
}


def check_hyperparameters(algo: Algorithm, given: Mapping[str, JsonValue]) -> Hyperparameters:
    """Fill in SB3's defaults and check every value.

    Raises:
        TrainingUsageError: an unknown name (with what was perhaps meant) or an impossible value.
    """
    model = MODELS[algo]
    for name in given:
        if name not in model.model_fields:
            raise _unknown(algo, name)
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        field, what = first_problem(error)
        raise TrainingUsageError(what, where=f"hyperparameter {field}") from error


def as_written(hyperparameters: Hyperparameters) -> dict[str, JsonValue]:
    """Plain data for ``run.json``, defaults included; within ``policy_kwargs`` only what was set."""
    data = hyperparameters.model_dump(mode="json", exclude={"policy_kwargs"})
    if hyperparameters.policy_kwargs:
        data["policy_kwargs"] = hyperparameters.policy_kwargs.model_dump(mode="json", exclude_none=True)
    return data


def _unknown(algo: Algorithm, name: str) -> TrainingUsageError:
    known = MODELS[algo].model_fields
    hint = ELSEWHERE.get(name) or close_match(name, known) or f"Known: {', '.join(sorted(known))}."
    return TrainingUsageError(f"{algo} has no such hyperparameter", where=f"hyperparameter {name}", hint=hint)
