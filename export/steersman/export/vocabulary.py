"""The words of an export: which algorithm, which way of quantizing."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


class Algorithm(StrEnum):
    """Algorithms of SB3 and sb3-contrib, all of which export covers."""

    PPO = "ppo"
    A2C = "a2c"
    DQN = "dqn"
    DDPG = "ddpg"
    TD3 = "td3"
    SAC = "sac"
    QRDQN = "qrdqn"
    TQC = "tqc"
    TRPO = "trpo"
    ARS = "ars"
    CROSSQ = "crossq"
    MASKABLE_PPO = "maskable_ppo"
    RECURRENT_PPO = "recurrent_ppo"

    @property
    def sb3_name(self) -> str:
        """The name that SB3's documentation uses, such as `QR-DQN`."""
        return _SB3_NAMES.get(self.value, self.value.upper())

    @classmethod
    def _missing_(cls, value: object) -> Algorithm | None:
        """rl-baselines3-zoo has a name of its own for one of them."""
        return cls.RECURRENT_PPO if value == "ppo_lstm" else None


_SB3_NAMES = {
    "qrdqn": "QR-DQN",
    "crossq": "CrossQ",
    "maskable_ppo": "MaskablePPO",
    "recurrent_ppo": "RecurrentPPO",
}


class Scheme(StrEnum):
    """How a variant holds its weights and activations."""

    FLOAT32 = "float32"
    """As trained."""
    STATIC_QDQ = "static_qdq"
    """8-bit weights and activations in every dense layer; convolutions stay float32."""
    STATIC_QDQ_CONV = "static_qdq_conv"
    """The same in convolutions too."""
    STATIC_QDQ_HIDDEN = "static_qdq_hidden"
    """8-bit weights and activations in the dense layers between the first layer and the last; all others stay
    float32."""
    WEIGHT_ONLY = "weight_only"
    """8-bit weights in every layer, unpacked to float32 when the model is loaded."""
    DYNAMIC = "dynamic"
    """8-bit weights, and activations whose scale is taken over the whole batch: measured, never shipped."""


ImageLayout = Literal["channels-first", "channels-last"]
"""Where the channels are in the images that callers send."""
