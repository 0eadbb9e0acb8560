"""Everything a person may ask of a training run, before any default is filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt, model_validator

from steersman.training.vocabulary import Algorithm

Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class TrainingSettings(BaseModel):
    """A request for a run. None means: the tuned value for this environment if known, else a general one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    env_id: Annotated[str, Field(min_length=1)]
    """A Gymnasium id; ``module:Id-v0`` imports the module first, as Gymnasium itself does."""
    env_kwargs: dict[str, JsonValue] = {}
    env_import: str | None = None
    algo: Algorithm = Algorithm.PPO
    timesteps: PositiveInt = 100_000
    """Cap on training steps, counted over all environments and rounded up to whole rollouts."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    n_envs: PositiveInt | None = None
    hyperparameters: dict[str, JsonValue] = {}
    normalize: bool | None = None
    target_return: float | None = None
    """Stop once two evaluations in a row, the second on fresh episodes, reach this mean return."""
    eval_every: PositiveInt | None = None
    """Training steps between evaluations; None is a twentieth of ``timesteps``."""
    eval_episodes: PositiveInt = 20
    out: Path = Path("runs")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """Folder name inside ``out/<environment>``; None numbers it ``<algo>-<seed>-<n>``."""
    feature_names: Names | None = None
    action_names: Names | None = None

    @model_validator(mode="before")
    @classmethod
    def _split_module_from_id(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("env_id"), str):
            return data
        module, separator, env_id = data["env_id"].partition(":")
        if not separator or data.get("env_import"):
            return data
        return {**data, "env_id": env_id, "env_import": module}
