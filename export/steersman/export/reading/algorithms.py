"""Which algorithm a zip is of. The file does not say; its fields and the policy's module do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.export.errors import ExportUsageError, UnsupportedError
from steersman.export.vocabulary import Algorithm

_SIGNS = (
    ("TRPO", {"cg_max_steps"}),
    ("ARS", {"n_delta"}),
    ("TQC", {"top_quantiles_to_drop_per_net"}),
    ("SAC", {"target_entropy"}),
    ("TD3 or DDPG", {"policy_delay"}),
    ("DQN", {"exploration_fraction"}),
    ("PPO", {"clip_range", "n_epochs"}),
    ("A2C", {"gae_lambda", "n_steps", "vf_coef"}),
)
"""Fields that tell algorithms apart, the most telling first."""

_MODULES = (
    ("RecurrentPPO", ".recurrent."),
    ("MaskablePPO", ".maskable."),
    ("QR-DQN", ".qrdqn."),
    ("CrossQ", ".crossq."),
)
"""Parts of the policy's module name that do so where the fields are the same."""

_COVERED = {"PPO": Algorithm.PPO, "A2C": Algorithm.A2C}


def infer_algorithm(fields: Mapping[str, Any], path: Path, asked: Algorithm | None = None) -> str:
    """SB3's name of the algorithm, such as PPO; `asked` overrules what the file suggests.

    Raises:
        UnsupportedError: It is one that export does not cover.
        ExportUsageError: It cannot be told.
    """
    if asked is not None:
        return asked.value.upper()
    found = _by_module(fields) or next((name for name, signs in _SIGNS if signs <= fields.keys()), None)
    if found is None:
        raise ExportUsageError(
            "the algorithm cannot be told from the file",
            where=str(path),
            expected="fields as PPO and A2C save them",
            hint="Name it with --algo.",
        )
    if found not in _COVERED:
        raise UnsupportedError(f"{found} is not covered yet", where=str(path), expected=" or ".join(_COVERED))
    return found


def _by_module(fields: Mapping[str, Any]) -> str | None:
    policy = fields.get("policy_class")
    module = f".{policy.get('__module__', '')}." if isinstance(policy, dict) else ""
    return next((name for name, part in _MODULES if part in module), None)
