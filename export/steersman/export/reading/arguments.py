"""What a policy is built with: the saved `policy_kwargs`, for the classes of today's SB3."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from steersman.export.errors import DamagedFileError, UnsupportedError
from steersman.export.reading import shared_layers
from steersman.export.reading.classes import real_value

Arguments = dict[str, Any]

_TRAINING = frozenset({"device", "optimizer_class", "optimizer_kwargs"})
"""Arguments that say nothing about what a trained policy answers."""

_SECOND_LAYERS = ("actor.latent_pi.0.", "actor.mu.2.", "q_net.q_net.2.", "quantile_net.quantile_net.2.")
"""Of off-policy networks, the weights that are there only if they have a hidden layer."""


class NoOptimizer:
    """Given to policies in place of an optimizer. Nothing is trained, and torch's take a second to import."""

    def __init__(self, *_: object, **__: object) -> None:
        """Takes what an optimizer takes."""


def policy_arguments(saved: object, policy_class: type[Any], where: str) -> Arguments:
    """Arguments for the class, without those that matter to training alone.

    Raises:
        DamagedFileError: They are no dictionary.
        UnsupportedError: One is of no use to the class, or names what no policy is built of.
    """
    if not isinstance(saved, Mapping):
        raise DamagedFileError("not a dictionary", where=where)
    known = inspect.signature(policy_class.__init__).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    arguments: Arguments = {}
    for name, value in saved.items():
        if name in _TRAINING:
            continue
        if name in known or takes_all:
            arguments[name] = real_value(value, f"{where}[{name!r}]")
        elif value is not None and value is not False:  # SB3 once had arguments such as `sde_net_arch`
            raise UnsupportedError(
                f"{policy_class.__name__} has no argument {name!r}", where=where, hint="SB3 removed it."
            )
    if "optimizer_class" in known:
        arguments["optimizer_class"] = NoOptimizer
    if "ortho_init" in known:
        arguments["ortho_init"] = False  # the weights are replaced at once
    return arguments


def today(
    arguments: Arguments, policy_class: type[Any], weights: Mapping[str, Tensor]
) -> tuple[type[Any], Arguments]:
    """The class and arguments whose policy has the layers that the weights are of.

    Before SB3 1.8 a list of widths meant layers that actor and critic share; since, it means one branch each.
    The weights tell which. Before 1.6, off-policy networks had no hidden layer behind a CNN by default.
    """
    net_arch = arguments.get("net_arch")
    if net_arch is None and _off_policy(weights) and not any(n.startswith(_SECOND_LAYERS) for n in weights):
        return policy_class, arguments | {"net_arch": []}
    if not isinstance(net_arch, list | tuple):
        return policy_class, arguments
    layout = shared_layers.layout_of(list(net_arch))
    if any(name.startswith(shared_layers.PREFIX) for name in weights):
        return shared_layers.with_shared_layers(policy_class, layout), arguments
    if net_arch and isinstance(net_arch[0], Mapping):
        return policy_class, arguments | {"net_arch": net_arch[0]}
    return policy_class, arguments | {"net_arch": list(net_arch)}


def _off_policy(weights: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(("actor.", "q_net.", "quantile_net.")) for name in weights)
