"""The written list of names that a pickle inside an SB3 file may use.

`PLAIN` are built for real: containers and numpy data, by callables of our own that can do nothing else
and that no pickle can alter.
`DESCRIBED` are never imported or called: `unpickle.py` notes what the pickle says about them. Anything else
is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import numpy as np

from steersman.export.reading.plain import NUMBERS, FromBuffer, Latin1, PlainArray, PlainDType, Scalar

_CONTAINERS = (
    bool,
    bytearray,
    bytes,
    complex,
    dict,
    float,
    frozenset,
    int,
    list,
    object,
    set,
    slice,
    str,
    tuple,
)

PLAIN: Final[dict[str, Any]] = {
    **{f"builtins.{kind.__name__}": kind for kind in _CONTAINERS},
    **{f"numpy.{name}": np.dtype(name).type for name in NUMBERS},
    "_codecs.encode": Latin1(),
    "collections.OrderedDict": OrderedDict,
    "numpy.core.multiarray._reconstruct": PlainArray,
    "numpy.core.multiarray.scalar": Scalar(),
    "numpy.core.numeric._frombuffer": FromBuffer(),
    "numpy.dtype": PlainDType,
}

ACTIVATIONS: Final = (
    *("CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid"),
    *("Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign"),
    *("Tanh", "Tanhshrink"),
)
"""Element-wise activations of `torch.nn`."""

_SPACES = {
    "box": ("Box",),
    "dict": ("Dict",),
    "dict_space": ("Dict",),
    "discrete": ("Discrete",),
    "multi_binary": ("MultiBinary",),
    "multi_discrete": ("MultiDiscrete",),
    "tuple": ("Tuple",),
    "tuple_space": ("Tuple",),
}
_MODULES = {
    **{f"gym.spaces.{module}": names for module, names in _SPACES.items()},
    **{f"gymnasium.spaces.{module}": names for module, names in _SPACES.items()},
    "gym.utils.seeding": ("RandomNumberGenerator",),
    "numpy": ("ndarray",),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pcg64": ("PCG64",),
    "numpy.random._philox": ("Philox",),
    "numpy.random._pickle": ("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
    "numpy.random.mtrand": ("RandomState",),
    "stable_baselines3.common.policies": (
        "ActorCriticCnnPolicy",
        "ActorCriticPolicy",
        "MultiInputActorCriticPolicy",
    ),
    "stable_baselines3.common.running_mean_std": ("RunningMeanStd",),
    "stable_baselines3.common.sb2_compat.rmsprop_tf_like": ("RMSpropTFLike",),
    "stable_baselines3.common.torch_layers": ("CombinedExtractor", "FlattenExtractor", "NatureCNN"),
    "stable_baselines3.common.vec_env.vec_normalize": ("VecNormalize",),
    "torch.nn.modules.activation": ACTIVATIONS,
    "torch.optim.adam": ("Adam",),
    "torch.optim.adamw": ("AdamW",),
    "torch.optim.rmsprop": ("RMSprop",),
    "torch.optim.sgd": ("SGD",),
}

DESCRIBED: Final = frozenset(f"{module}.{name}" for module, names in _MODULES.items() for name in names)

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
