"""What lies between an observation and the last features of actor and critic.

The layers are the policy's own: its features extractors, its `mlp_extractor`, its LSTM. Only what calls them
is written anew, in the order of SB3's `get_distribution` and `predict_values`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from steersman.export.errors import UnsupportedError


class FeedForward(nn.Module):
    """Actor and critic without memory."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.shared = policy.vf_features_extractor is policy.pi_features_extractor
        names = ("pi_features_extractor", "vf_features_extractor", "mlp_extractor", "value_net")
        self.layers = exportable(policy, names)

    def forward(self, observed: Any) -> tuple[Tensor, Tensor]:
        """Maps what the reader gives to the actor's last features [N, L] and the values [N]."""
        layers: Any = self.layers
        actor = layers.pi_features_extractor(observed)
        critic = actor if self.shared else layers.vf_features_extractor(observed)
        value = layers.value_net(layers.mlp_extractor.forward_critic(critic))
        return layers.mlp_extractor.forward_actor(actor), value.flatten()


class Recurrent(nn.Module):
    """Actor with LSTM; the critic unless it has an LSTM of its own, whose state `predict` does not carry."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.shared = policy.vf_features_extractor is policy.pi_features_extractor
        self.shared_lstm, self.values = policy.shared_lstm, gives_values(policy)
        names = ["pi_features_extractor", "mlp_extractor"]
        if self.values:
            names += ["value_net"] if self.shared_lstm else ["vf_features_extractor", "value_net", "critic"]
        self.layers = exportable(policy, tuple(names))
        lstm = policy.lstm_actor
        self.cells = nn.ModuleList(_Cell(lstm, layer) for layer in range(lstm.num_layers))

    def forward(self, observed: Any, h: Tensor, c: Tensor, start: Tensor) -> tuple[Tensor, ...]:
        """Maps states [N, layers, hidden] too; gives last features, next h, next c and, if any, values."""
        features = self.layers.pi_features_extractor(observed)  # type: ignore[operator]
        latent, next_h, next_c = self._remember(features, h, c, start.reshape(-1, 1, 1))
        mlp: Any = self.layers.mlp_extractor
        outputs = (mlp.forward_actor(latent), next_h, next_c)
        return (*outputs, self._value(observed, features, latent)) if self.values else outputs

    def _remember(self, x: Tensor, h: Tensor, c: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = (torch.where(start, 0.0, state) for state in (h, c))
        after = []
        for layer, cell in enumerate(self.cells):
            x, memory = cell(x, h[:, layer], c[:, layer])
            after.append((x, memory))
        hs, cs = zip(*after, strict=True)
        return x, torch.stack(hs, dim=1), torch.stack(cs, dim=1)

    def _value(self, observed: Any, features: Tensor, latent: Tensor) -> Tensor:
        layers: Any = self.layers
        if not self.shared_lstm:
            latent = layers.critic(features if self.shared else layers.vf_features_extractor(observed))
        value: Tensor = layers.value_net(layers.mlp_extractor.forward_critic(latent))
        return value.flatten()


class _Cell(nn.Module):
    """One LSTM layer, one step: a single linear map of [x, h] to all gates, then as `torch.nn.LSTM` does.

    torch orders its gates input, forget, cell, output; here the three that take a sigmoid come first.
    """

    def __init__(self, lstm: nn.LSTM, layer: int) -> None:
        super().__init__()
        names = [f"weight_ih_l{layer}", f"weight_hh_l{layer}"]
        weight = torch.cat([getattr(lstm, name).detach() for name in names], dim=1)
        self.hidden = lstm.hidden_size
        self.gates = nn.Linear(weight.shape[1], weight.shape[0])
        order = torch.arange(4 * self.hidden).reshape(4, -1)[[0, 1, 3, 2]].ravel()
        bias = torch.zeros(len(weight))
        if lstm.bias:
            bias = (getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")).detach()
        self.gates.weight = nn.Parameter(weight[order], requires_grad=False)
        self.gates.bias = nn.Parameter(bias[order], requires_grad=False)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [N, features] and states [N, hidden] to the next states."""
        gates, new = self.gates(torch.cat([x, h], dim=1)).split([3 * self.hidden, self.hidden], dim=1)
        keep_in, forget, give = gates.sigmoid().chunk(3, dim=1)
        memory = forget * c + keep_in * new.tanh()
        return give * memory.tanh(), memory


def gives_values(policy: Any) -> bool:
    """Whether the value follows from the actor's state alone."""
    return policy.lstm_critic is None


def check_lstm(policy: Any) -> None:
    """Refuses LSTMs that SB3 cannot run row by row.

    Raises:
        UnsupportedError: It is bidirectional, projected, or has its batch axis first.
    """
    lstm = policy.lstm_actor
    for name in ("bidirectional", "batch_first", "proj_size"):
        if getattr(lstm, name):
            raise UnsupportedError(f"an LSTM with {name}={getattr(lstm, name)} is not covered")


def exportable(policy: nn.Module, names: tuple[str, ...]) -> nn.ModuleDict:
    """Copies of parts of a policy, in evaluation mode; parts that share layers go on sharing them.

    `RReLU`, of which torch cannot export the random form, is `LeakyReLU` with the mean slope in evaluation.
    """
    parts = copy.deepcopy(nn.ModuleDict({name: getattr(policy, name) for name in names}))
    for parent in list(parts.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.RReLU):
                setattr(parent, name, nn.LeakyReLU((child.lower + child.upper) / 2))
    return parts.eval()
