"""The written list of names that a pickle inside an SB3 file may use.

`PLAIN` are built for real: containers and numpy data, by functions of our own that can do nothing else.
`DESCRIBED` are never imported or called: `unpickle.py` notes what the pickle says about them. Anything else
is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import numpy as np

from steersman.export.plain import NUMBERS, PlainArray, PlainDType, array_from_buffer, latin1, scalar

_CONTAINERS = (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, object, set, slice, str, tuple)

PLAIN: Final[dict[str, Any]] = {
    **{f"builtins.{kind.__name__}": kind for kind in _CONTAINERS},
    **{f"numpy.{name}": np.dtype(name).type for name in NUMBERS},
    "_codecs.encode": latin1,
    "collections.OrderedDict": OrderedDict,
    "numpy.core.multiarray._reconstruct": PlainArray,
    "numpy.core.multiarray.scalar": scalar,
    "numpy.core.numeric._frombuffer": array_from_buffer,
    "numpy.dtype": PlainDType,
}

ACTIVATIONS: Final = (
    "CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU ReLU ReLU6 SELU "
    "SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink"
).split()
"""Element-wise activations of `torch.nn`."""

_SPACES = (
    "box.Box discrete.Discrete multi_discrete.MultiDiscrete multi_binary.MultiBinary dict.Dict tuple.Tuple "
    "dict_space.Dict tuple_space.Tuple"
).split()
_RANDOM_STATES = (
    "numpy.random._pickle.__generator_ctor numpy.random._pickle.__bit_generator_ctor "
    "numpy.random._pickle.__randomstate_ctor numpy.random.mtrand.RandomState "
    "numpy.random._pcg64.PCG64 numpy.random._mt19937.MT19937 numpy.random._philox.Philox "
    "numpy.random.bit_generator.SeedSequence numpy.random.bit_generator.__pyx_unpickle_SeedSequence "
    "gym.utils.seeding.RandomNumberGenerator"
).split()
_OPTIMIZERS = (
    "torch.optim.adam.Adam torch.optim.adamw.AdamW torch.optim.rmsprop.RMSprop torch.optim.sgd.SGD "
    "stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike"
).split()
_POLICIES = (
    "stable_baselines3.common.policies.ActorCriticPolicy "
    "stable_baselines3.common.policies.ActorCriticCnnPolicy "
    "stable_baselines3.common.policies.MultiInputActorCriticPolicy "
    "stable_baselines3.common.torch_layers.FlattenExtractor "
    "stable_baselines3.common.torch_layers.NatureCNN "
    "stable_baselines3.common.torch_layers.CombinedExtractor "
    "stable_baselines3.common.vec_env.vec_normalize.VecNormalize "
    "stable_baselines3.common.running_mean_std.RunningMeanStd"
).split()

DESCRIBED: Final[frozenset[str]] = frozenset(
    [
        *(f"{library}.spaces.{name}" for library in ("gym", "gymnasium") for name in _SPACES),
        *(f"torch.nn.modules.activation.{name}" for name in ACTIVATIONS),
        *_RANDOM_STATES,
        *_OPTIMIZERS,
        *_POLICIES,
        "numpy.ndarray",
    ]
)

_RENAMED = (
    ("__builtin__.", "builtins."),
    ("copy_reg.", "copyreg."),
    ("numpy._core.", "numpy.core."),
)


def canonical(name: str) -> str:
    """The one spelling of a name that moved between versions of Python or numpy."""
    for old, new in _RENAMED:
        if name.startswith(old):
            return new + name[len(old) :]
    return name
