"""The words of an export: which algorithm, which way of quantizing."""

from __future__ import annotations

from enum import StrEnum


class Algorithm(StrEnum):
    """SB3 algorithms that export covers."""

    PPO = "ppo"
    """Proximal policy optimisation (Schulman et al. 2017)."""
    A2C = "a2c"
    """Synchronous advantage actor-critic (Mnih et al. 2016)."""


class Scheme(StrEnum):
    """How a variant holds its weights and activations."""

    FLOAT32 = "float32"
    """As trained."""
    STATIC_QDQ = "static_qdq"
    """8-bit weights and activations in every layer."""
    STATIC_QDQ_HIDDEN = "static_qdq_hidden"
    """8-bit weights and activations in the layers between the first and the last; those stay float32."""
    WEIGHT_ONLY = "weight_only"
    """8-bit weights in every layer, unpacked to float32 when the model is loaded."""
