"""From an SB3 zip to a torch policy, without running anything that the file contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from steersman.bundle.errors import brief
from steersman.export.errors import DamagedFileError, UnsupportedError
from steersman.export.quiet import quietly
from steersman.export.reading.algorithms import infer_algorithm
from steersman.export.reading.archive import Archive, read_archive
from steersman.export.reading.arguments import policy_arguments, today
from steersman.export.reading.bounds import bounded_by
from steersman.export.reading.classes import class_without_name, real_value
from steersman.export.reading.spaces import AnySpace, as_space
from steersman.export.reading.trusted import TrustedCode, TrustedReading
from steersman.export.reading.weights import TRAINING_NETWORKS, fill
from steersman.export.vocabulary import Algorithm


@dataclass(frozen=True, slots=True)
class SavedPolicy:
    """A policy as it was saved, ready to be asked.

    Attributes:
        algorithm: SB3's name, such as PPO.
        policy: The torch module in evaluation mode, on the CPU. It has no optimizer.
        observation_space: What it observes.
        action_space: What it does.
        zip_sha256: Digest of the file.
        libraries: Versions that saved it, as far as the file tells.
        train_steps: Environment steps trained; None where the file does not say.
        trusted_code: Names of the user that were imported for it, and classes that the file held by value.
    """

    algorithm: str
    policy: BasePolicy
    observation_space: AnySpace
    action_space: AnySpace
    zip_sha256: str
    libraries: Mapping[str, str]
    train_steps: int | None
    trusted_code: tuple[str, ...] = ()


def load_policy(
    path: Path,
    algorithm: Algorithm | None = None,
    *,
    from_run: bool = False,
    trust: TrustedCode | None = None,
) -> SavedPolicy:
    """Reads a zip of SB3 or sb3-contrib, of any version since 0.11.

    Args:
        path: The file.
        algorithm: Overrules what is inferred from it.
        from_run: Whether it is the run that says so, and not a person.
        trust: Leave to import and run what the policy's class and arguments name; None refuses that.

    Raises:
        ExportUsageError: It is no SB3 zip, its algorithm cannot be told, or trusted code cannot be imported.
        DamagedFileError: It is truncated or its parts do not fit together.
        UnsafePickleError: It names what is not on the list.
    """
    archive = read_archive(path)
    with quietly():
        return _Loading(archive, trust).run(algorithm, from_run=from_run)


class _Loading:
    """One file being loaded."""

    def __init__(self, archive: Archive, trust: TrustedCode | None) -> None:
        self.archive, self.path = archive, archive.path
        self.trusted = TrustedReading(trust, archive.libraries.get("python")) if trust else None
        self.observation_space, self.action_space = map(self._space, ("observation_space", "action_space"))

    def run(self, asked: Algorithm | None, *, from_run: bool) -> SavedPolicy:
        named = self._named_class()
        algorithm = infer_algorithm(self.archive.fields, named, self.path, asked, from_run=from_run)
        weights = self.archive.tensors()
        policy = self._build(algorithm, named or self._unnamed_class(algorithm, weights), weights)
        steps = self.archive.fields.get("num_timesteps")
        return SavedPolicy(
            algorithm=algorithm.sb3_name,
            policy=policy,
            observation_space=self.observation_space,
            action_space=self.action_space,
            zip_sha256=self.archive.sha256,
            libraries=self.archive.libraries,
            train_steps=steps if isinstance(steps, int) else None,
            trusted_code=tuple(sorted(self.trusted.used)) if self.trusted else (),
        )

    def _space(self, name: str) -> AnySpace:
        return as_space(self.archive.field(name), f"{self.path}: {name}")

    def _named_class(self) -> type[Any] | None:
        """The policy's class; SB3 0.x did not save it."""
        if "policy_class" not in self.archive.fields:
            return None
        where = f"{self.path}: policy_class"
        found = real_value(self.archive.field("policy_class", self.trusted), where)
        if not isinstance(found, type) or not issubclass(found, BasePolicy):
            said = found[:200] if isinstance(found, str) else getattr(found, "__name__", type(found).__name__)
            raise DamagedFileError(f"it is {said}", where=where, expected="a policy of SB3")
        return found

    def _unnamed_class(self, algorithm: Algorithm, weights: Mapping[str, Tensor]) -> type[Any]:
        found = class_without_name(algorithm.sb3_name, self.observation_space, weights)
        if found is None:
            raise UnsupportedError(
                f"the file does not name the class of its {algorithm} policy", where=str(self.path)
            )
        return found

    def _build(
        self, algorithm: Algorithm, policy_class: type[Any], weights: Mapping[str, Tensor]
    ) -> BasePolicy:
        arguments = policy_arguments(
            self._saved_arguments(algorithm), policy_class, f"{self.path}: policy_kwargs"
        )
        if algorithm is not Algorithm.ARS:
            arguments["lr_schedule"] = lambda _: 0.0
        try:
            with bounded_by(weights, str(self.path)):
                built_class, arguments = today(arguments, policy_class, weights)
                policy: BasePolicy = built_class(self.observation_space, self.action_space, **arguments)
        except DamagedFileError:
            raise
        except Exception as error:  # classes of the user's may raise anything
            raise DamagedFileError(
                f"the policy that it describes cannot be built: {brief(error)}", where=str(self.path)
            ) from error
        known = policy_class.__module__.startswith(("stable_baselines3.", "sb3_contrib."))
        fill(policy, weights, TRAINING_NETWORKS.get(algorithm, ()) if known else (), str(self.path))
        policy.set_training_mode(False)
        return policy.to(torch.device("cpu"))

    def _saved_arguments(self, algorithm: Algorithm) -> Any:
        fields = self.archive.fields
        saved = self.archive.field("policy_kwargs", self.trusted) if "policy_kwargs" in fields else {}
        with_sde = {Algorithm.PPO, Algorithm.A2C, Algorithm.TRPO, Algorithm.RECURRENT_PPO}
        with_sde |= {Algorithm.SAC, Algorithm.TQC, Algorithm.CROSSQ}
        if not isinstance(saved, Mapping) or algorithm not in with_sde:
            return saved
        return {**saved, "use_sde": bool(fields.get("use_sde", saved.get("use_sde")))}
