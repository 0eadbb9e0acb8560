"""``steersman train``: the command, without the libraries that it needs once it runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from steersman.training import options
from steersman.training.errors import TrainingUsageError
from steersman.training.vocabulary import Algorithm

NEEDED = ("torch", "stable_baselines3", "gymnasium", "tensorboard")


def train(
    *,
    env: options.Env,
    algo: options.Algo = Algorithm.PPO,
    timesteps: options.Timesteps = 100_000,
    seed: options.Seed = 0,
    n_envs: options.NEnvs = None,
    hyperparameter: options.Hyperparameter = None,
    normalize: options.Normalize = None,
    target_return: options.TargetReturn = None,
    eval_every: options.EvalEvery = None,
    eval_episodes: options.EvalEpisodes = 20,
    env_kwargs: options.EnvKwargs = None,
    env_import: options.EnvImport = None,
    feature_names: options.FeatureNames = None,
    action_names: options.ActionNames = None,
    out: options.Out = Path("runs"),
    name: options.Name = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a policy into a run folder that `steersman export` understands.

    The folder holds the last and the best model, every evaluation, and
    run.json, which says how the run went.

    Exit status: 0 done, 1 target missed or training failed, 2 used wrongly.
    """
    _require_training_extra()
    from steersman.training.command import parse_settings, run_command

    settings = parse_settings(
        pairs={"hyperparameters": hyperparameter, "env_kwargs": env_kwargs},
        lists={"feature_names": feature_names, "action_names": action_names},
        values={
            "env_id": env,
            "env_import": env_import,
            "algo": algo,
            "timesteps": timesteps,
            "seed": seed,
            "n_envs": n_envs,
            "normalize": normalize,
            "target_return": target_return,
            "eval_every": eval_every,
            "eval_episodes": eval_episodes,
            "out": out,
            "name": name,
        },
    )
    run_command(settings, quiet=quiet, as_json=json)


def _require_training_extra() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise TrainingUsageError(
            f"training needs {', '.join(missing)}", hint="Install it with: pip install 'steersman[training]'"
        )
