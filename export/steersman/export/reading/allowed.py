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

from steersman.export.reading.builtin import BuiltinType, Check, members, pairs, row, scalar
from steersman.export.reading.plain import NUMBERS, Bytes, FromBuffer, Latin1, PlainArray, PlainDType, Scalar

_BUILTINS: dict[type[Any], Check] = {
    **dict.fromkeys((bool, complex, float, int, str), scalar),
    **dict.fromkeys((list, tuple), row),
    **dict.fromkeys((frozenset, set), members),
    dict: pairs,
}

PLAIN: Final[dict[str, Any]] = {
    **{f"builtins.{kind.__name__}": BuiltinType(kind, check) for kind, check in _BUILTINS.items()},
    **{f"numpy.{name}": BuiltinType(np.dtype(name).type, scalar) for name in NUMBERS},
    "builtins.bytearray": Bytes(),
    "builtins.bytes": Bytes(),
    "builtins.object": object,
    "numpy.bool_": BuiltinType(np.bool_, scalar),
    "_codecs.encode": Latin1(),
    "collections.OrderedDict": BuiltinType(OrderedDict, pairs),
    "numpy.core.multiarray._reconstruct": PlainArray,
    "numpy.core.multiarray.scalar": Scalar(),
    "numpy.core.numeric._frombuffer": FromBuffer(),
    "numpy.dtype": PlainDType,
}

ACTIVATIONS: Final = (
    *("CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid"),
    *("LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax"),
    *("Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink"),
)
"""Every activation of `torch.nn` that can be made without arguments and keeps the width."""

EXTRACTORS: Final = ("CombinedExtractor", "FlattenExtractor", "NatureCNN")
"""Features extractors of SB3."""

_SPACES = {
    "box": ("Box",),
    "dict": ("Dict",),
    "dict_space": ("Dict",),
    "discrete": ("Discrete",),
    "graph": ("Graph",),
    "multi_binary": ("MultiBinary",),
    "multi_discrete": ("MultiDiscrete",),
    "oneof": ("OneOf",),
    "sequence": ("Sequence",),
    "tuple": ("Tuple",),
    "tuple_space": ("Tuple",),
}

_ON_POLICY = ("ActorCriticCnnPolicy", "ActorCriticPolicy", "MultiInputActorCriticPolicy")
_FORMER_ON_POLICY = ("CnnPolicy", "MlpPolicy", "PPOPolicy", "A2CPolicy")
_BY_INPUT = ("CnnPolicy", "MlpPolicy", "MultiInputPolicy")

POLICIES: Final = {
    "stable_baselines3.common.policies": _ON_POLICY,
    "stable_baselines3.a2c.policies": _FORMER_ON_POLICY,
    "stable_baselines3.ppo.policies": _FORMER_ON_POLICY,
    "stable_baselines3.dqn.policies": ("DQNPolicy", *_BY_INPUT),
    "stable_baselines3.sac.policies": ("SACPolicy", *_BY_INPUT),
    "stable_baselines3.td3.policies": ("TD3Policy", *_BY_INPUT),
    "sb3_contrib.ars.policies": ("ARSLinearPolicy", "ARSPolicy"),
    "sb3_contrib.common.maskable.policies": (
        "MaskableActorCriticCnnPolicy",
        "MaskableActorCriticPolicy",
        "MaskableMultiInputActorCriticPolicy",
    ),
    "sb3_contrib.common.recurrent.policies": (
        "RecurrentActorCriticCnnPolicy",
        "RecurrentActorCriticPolicy",
        "RecurrentMultiInputActorCriticPolicy",
    ),
    "sb3_contrib.crossq.policies": ("CrossQPolicy",),
    "sb3_contrib.qrdqn.policies": ("QRDQNPolicy", *_BY_INPUT),
    "sb3_contrib.tqc.policies": ("TQCPolicy", *_BY_INPUT),
}
"""Policy classes by module, those of SB3 before 1.0 among them."""

_MODULES = {
    **{f"gym.spaces.{module}": names for module, names in _SPACES.items()},
    **{f"gymnasium.spaces.{module}": names for module, names in _SPACES.items()},
    **POLICIES,
    "gym.utils.seeding": ("RandomNumberGenerator", "RandomNumberGenerator._generator_ctor"),
    "numpy": ("ndarray",),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pcg64": ("PCG64", "PCG64DXSM"),
    "numpy.random._philox": ("Philox",),
    "numpy.random._pickle": ("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"),
    "numpy.random._sfc64": ("SFC64",),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
    "numpy.random.mtrand": ("RandomState",),
    "stable_baselines3.common.running_mean_std": ("RunningMeanStd",),
    "stable_baselines3.common.sb2_compat.rmsprop_tf_like": ("RMSpropTFLike",),
    "stable_baselines3.common.torch_layers": EXTRACTORS,
    "stable_baselines3.common.vec_env.vec_normalize": ("VecNormalize",),
    "torch": ("device",),
    "torch.nn.modules.activation": ACTIVATIONS,
    "torch.nn.modules.linear": ("Identity",),
    "torch.optim.adam": ("Adam",),
    "torch.optim.adamax": ("Adamax",),
    "torch.optim.adamw": ("AdamW",),
    "torch.optim.nadam": ("NAdam",),
    "torch.optim.radam": ("RAdam",),
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
