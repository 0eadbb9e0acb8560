"""Layers that actor and critic share: what SB3 built before version 1.8 and can no longer open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

PREFIX = "mlp_extractor.shared_net."
"""Weights under this name are of shared layers."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Widths of the layers: the shared ones first, then each branch."""

    shared: tuple[int, ...]
    actor: tuple[int, ...]
    critic: tuple[int, ...]


def layout_of(net_arch: list[Any]) -> Layout:
    """Reads SB3's former notation: widths of shared layers, then perhaps one dictionary for the branches."""
    shared = tuple(width for width in net_arch if not isinstance(width, dict))
    branches = next((part for part in net_arch if isinstance(part, dict)), {})
    return Layout(shared, tuple(branches.get("pi", ())), tuple(branches.get("vf", ())))


class SharedExtractor(nn.Module):
    """Stands where SB3's `MlpExtractor` does, with the same names and the shared layers of SB3 1.7.

    Args:
        width: Number of features that come in.
        layout: Widths of the layers.
        activation: What follows each layer.
    """

    def __init__(self, width: int, layout: Layout, activation: type[nn.Module]) -> None:
        super().__init__()
        self.shared_net, shared = _layers(width, layout.shared, activation)
        self.policy_net, self.latent_dim_pi = _layers(shared, layout.actor, activation)
        self.value_net, self.latent_dim_vf = _layers(shared, layout.critic, activation)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Latent features of the actor and of the critic."""
        shared = self.shared_net(features)
        return self.policy_net(shared), self.value_net(shared)

    def forward_actor(self, features: Tensor) -> Tensor:
        """Latent features of the actor."""
        latent: Tensor = self.policy_net(self.shared_net(features))
        return latent

    def forward_critic(self, features: Tensor) -> Tensor:
        """Latent features of the critic."""
        latent: Tensor = self.value_net(self.shared_net(features))
        return latent


def _layers(width: int, widths: tuple[int, ...], activation: type[nn.Module]) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    for following in widths:
        layers += [nn.Linear(width, following), activation()]
        width = following
    return nn.Sequential(*layers), width


def with_shared_layers(policy_class: type[Any], layout: Layout) -> type[Any]:
    """The same policy with the extractor above; it takes no `net_arch` of its own."""

    def build(policy: Any) -> None:
        width = getattr(policy, "lstm_output_dim", policy.features_dim)
        policy.mlp_extractor = SharedExtractor(width, layout, policy.activation_fn)

    return type(policy_class.__name__, (policy_class,), {"_build_mlp_extractor": build})
