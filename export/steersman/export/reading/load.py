"""From an SB3 zip to a torch policy, without running anything that the file contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space

from steersman.export.errors import DamagedFileError, UnsupportedError
from steersman.export.reading.algorithms import infer_algorithm
from steersman.export.reading.allowed import ACTIVATIONS
from steersman.export.reading.archive import Archive, read_archive
from steersman.export.reading.spaces import AnySpace, as_space
from steersman.export.reading.unpickle import named
from steersman.export.vocabulary import Algorithm

POLICY_CLASS = "stable_baselines3.common.policies.ActorCriticPolicy"
EXTRACTOR = "stable_baselines3.common.torch_layers.FlattenExtractor"

_KEPT = ("net_arch", "share_features_extractor", "normalize_images")
"""Policy arguments that are taken as they are."""

_IGNORED = frozenset(
    {
        "features_extractor_kwargs",
        "full_std",
        "log_std_init",
        "optimizer_class",
        "optimizer_kwargs",
        "ortho_init",
        "use_expln",
    }
)
"""Those that matter only to training, or to layers that are refused."""


@dataclass(frozen=True, slots=True)
class SavedPolicy:
    """A policy as it was saved, ready to be asked.

    Attributes:
        algorithm: SB3's name, such as PPO.
        policy: The torch module in evaluation mode.
        observation_space: What it observes.
        action_space: What it does.
        zip_sha256: Digest of the file.
        libraries: Versions that saved it, as far as the file tells.
        train_steps: Environment steps trained; None where the file does not say.
    """

    algorithm: str
    policy: ActorCriticPolicy
    observation_space: spaces.Box
    action_space: spaces.Discrete | spaces.Box
    zip_sha256: str
    libraries: Mapping[str, str]
    train_steps: int | None


def load_policy(path: Path, algorithm: Algorithm | None = None) -> SavedPolicy:
    """Reads an SB3 zip.

    Raises:
        ExportUsageError: It is no SB3 zip, or of something that export does not cover.
        DamagedFileError: It is truncated or its parts do not fit together.
        UnsafePickleError: It names what is not on the list.
    """
    archive = read_archive(path)
    name = infer_algorithm(archive.fields, path, algorithm)
    _check_policy_class(archive)
    observation_space = _observation_space(
        as_space(archive.field("observation_space"), f"{path}: observation_space"), path
    )
    action_space = _action_space(as_space(archive.field("action_space"), f"{path}: action_space"), path)
    steps = archive.fields.get("num_timesteps")
    return SavedPolicy(
        algorithm=name,
        policy=_build(archive, observation_space, action_space),
        observation_space=observation_space,
        action_space=action_space,
        zip_sha256=archive.sha256,
        libraries=archive.libraries,
        train_steps=steps if isinstance(steps, int) else None,
    )


def _check_policy_class(archive: Archive) -> None:
    found = named(archive.field("policy_class"))
    if found != POLICY_CLASS:
        raise UnsupportedError(
            f"policies of class {found} are not covered yet", where=str(archive.path), expected="MlpPolicy"
        )
    if archive.fields.get("use_sde"):
        raise UnsupportedError("gSDE (use_sde=True) is not covered yet", where=str(archive.path))


def _observation_space(space: AnySpace, path: Path) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        raise UnsupportedError(f"{space} observations are not covered yet", where=str(path), expected="Box")
    if is_image_space(space):
        raise UnsupportedError(
            "image observations are not covered yet", where=str(path), expected="a Box of numbers"
        )
    return space


def _action_space(space: AnySpace, path: Path) -> spaces.Discrete | spaces.Box:
    if isinstance(space, spaces.Discrete):
        return space
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind == "f":
        return space
    raise UnsupportedError(
        f"{space} actions are not covered yet", where=str(path), expected="Discrete, or Box of floats"
    )


def _build(
    archive: Archive, observation_space: spaces.Box, action_space: spaces.Discrete | spaces.Box
) -> ActorCriticPolicy:
    arguments = _policy_arguments(archive)
    tensors = archive.tensors()
    try:
        policy = ActorCriticPolicy(
            observation_space, action_space, lambda _: 0.0, ortho_init=False, **arguments
        )
        policy.load_state_dict(tensors)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"the weights do not fit the policy that it describes: {_brief(error)}",
            where=str(archive.path),
        ) from error
    policy.set_training_mode(False)
    return policy.to(torch.device("cpu"))


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _policy_arguments(archive: Archive) -> dict[str, Any]:
    saved = archive.field("policy_kwargs") if "policy_kwargs" in archive.fields else {}
    where = f"{archive.path}: policy_kwargs"
    if not isinstance(saved, dict):
        raise DamagedFileError("not a dictionary", where=where)
    arguments = {name: value for name, value in saved.items() if name in _KEPT}
    if isinstance(arguments.get("net_arch"), list):
        arguments["net_arch"] = _net_arch(arguments["net_arch"], where)
    for name, value in saved.items():
        if name == "activation_fn":
            arguments[name] = _activation(value, where)
        elif name == "features_extractor_class" and named(value) == EXTRACTOR:
            continue
        elif name not in _IGNORED and name not in _KEPT and value not in (None, False):
            raise UnsupportedError(f"{name}={named(value) or value} is not covered yet", where=where)
    return arguments


def _activation(value: object, where: str) -> type[torch.nn.Module]:
    name = (named(value) or "").rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise UnsupportedError(f"activation_fn={named(value) or value} is not covered", where=where)
    activation: type[torch.nn.Module] = getattr(torch.nn, name)
    return activation


def _net_arch(layers: list[Any], where: str) -> list[int] | dict[str, list[int]]:
    """Before SB3 1.8 a list could end in a dictionary: shared layers, then one branch each."""
    if not any(isinstance(layer, dict) for layer in layers):
        return layers
    if len(layers) > 1:
        raise UnsupportedError(
            "layers shared by actor and critic (SB3 before 1.8) are not covered yet", where=where
        )
    branches: dict[str, list[int]] = layers[0]
    return branches
