"""What a cell of the matrix is made of: one value of every factor, by names that are shown in the table."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass

FAMILIES = {
    "actor-critic": ("PPO", "A2C", "TRPO"),
    "masked actor-critic": ("MaskablePPO",),
    "recurrent actor-critic": ("RecurrentPPO",),
    "Q-values": ("DQN", "QR-DQN"),
    "deterministic actor": ("DDPG", "TD3"),
    "squashed Gaussian": ("SAC", "TQC", "CrossQ"),
    "random search": ("ARS", "ARS linear"),
}
"""Algorithms by the kind of policy that they share."""

OBSERVATION_KINDS = {
    "Box": (
        "float32",
        "float64 unbounded",
        "float16",
        "int32",
        "int8",
        "float32 2-D",
        "float32 stacked",
        "uint8 HWC flat",
        "uint8 CHW flat",
    ),
    "image": (
        "uint8 HWC",
        "uint8 CHW",
        "uint8 HWC stacked",
        "uint8 HWC as it is",
        "float32 CHW as it is",
    ),
    "Discrete": ("Discrete",),
    "MultiDiscrete": ("MultiDiscrete",),
    "MultiBinary": ("MultiBinary", "MultiBinary 2-D"),
    "Dict": ("Dict", "Dict with image", "Dict of choices", "Dict stacked"),
}
"""Observations by the kind of space and the way in which the policy reads it.

`as it is`: `normalize_images=False`; `flat`: an image that MlpPolicy reads; `stacked`: by VecFrameStack.
"""

ACTION_KINDS = {
    "Discrete": ("Discrete", "Discrete from -1", "Discrete from 5"),
    "MultiDiscrete": ("MultiDiscrete",),
    "MultiBinary": ("MultiBinary",),
    "Box": ("Box", "Box odd bounds", "Box float64", "Box 2-D"),
}
"""Actions by the kind of space."""

ACTIVATIONS = ("Tanh", "ReLU", "ELU", "LeakyReLU", "GELU", "SiLU", "Mish", "PReLU", "Softsign", "Hardswish")
"""Names in torch.nn."""


def flatten(groups: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """All members, group after group."""
    return tuple(member for members in groups.values() for member in members)


def group_of(groups: dict[str, tuple[str, ...]], member: str) -> str:
    """The group that has the member."""
    return next(group for group, members in groups.items() if member in members)


FACTORS: dict[str, tuple[str, ...]] = {
    "algorithm": flatten(FAMILIES),
    "observation": flatten(OBSERVATION_KINDS),
    "action": flatten(ACTION_KINDS),
    "statistics": ("raw", "normalized", "some keys normalized"),
    "extractor": ("shared", "separate", "own module"),
    "net": ("list", "linear", "dict", "dict of one", "list of a dict"),
    "activation": ("none", *ACTIVATIONS),
    "exploration": ("plain", "gSDE", "gSDE squashed", "gSDE expln", "squashed", "clipped"),
    "lstm": ("none", "1 layer", "2 layers", "critic without", "shared with critic"),
    "states": ("space", "environment", "recorded"),
}
"""Values by factor, the order in which a cell is filled.

`statistics`: VecNormalize. `net`: the form of `net_arch`. `exploration`: how an action comes from the last
layer. `states`: what export is told about on-policy observations.
"""

Choice = dict[str, str]
"""A value for some or all factors."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One model to train, export and compare; every attribute is a value of the factor of its name."""

    algorithm: str
    observation: str
    action: str
    statistics: str = "raw"
    extractor: str = "shared"
    net: str = "list"
    activation: str = "Tanh"
    exploration: str = "plain"
    lstm: str = "none"
    states: str = "space"

    @property
    def choice(self) -> Choice:
        """Values by factor."""
        return asdict(self)

    @property
    def family(self) -> str:
        """The kind of policy."""
        return group_of(FAMILIES, self.algorithm)

    @property
    def observation_kind(self) -> str:
        """The kind of observation."""
        return group_of(OBSERVATION_KINDS, self.observation)

    @property
    def action_kind(self) -> str:
        """The kind of action."""
        return group_of(ACTION_KINDS, self.action)

    @property
    def is_continuous(self) -> bool:
        """Whether actions are numbers."""
        return self.action_kind == "Box"

    @property
    def policy(self) -> str:
        """SB3's name of the policy class."""
        if self.algorithm == "ARS linear":
            return "LinearPolicy"
        stem = {"image": "Cnn", "Dict": "MultiInput"}.get(self.observation_kind, "Mlp")
        return f"{stem}LstmPolicy" if self.algorithm == "RecurrentPPO" else f"{stem}Policy"

    @property
    def options(self) -> str:
        """What departs from the plainest, in words."""
        plain = {"raw", "shared", "list", "none", "plain", "space"}
        named = {"extractor": "{} extractor", "net": "net_arch {}", "lstm": "LSTM {}", "states": "{} states"}
        spoken = (
            named.get(factor, "{}").format(value)
            for factor, value in list(self.choice.items())[3:]
            if value not in plain
        )
        return ", ".join(spoken)

    @property
    def slug(self) -> str:
        """A name for files: readable, and another for every other cell."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        stem = re.sub(r"[^a-z0-9]+", "-", f"{self.algorithm} {self.observation} {self.action}".lower())
        return f"{stem}-{digest}"

    def __str__(self) -> str:
        return f"{self.algorithm} {self.policy}, {self.observation}, {self.action}, {self.options}".rstrip(
            ", "
        )
