"""What cannot be combined: what SB3 refuses, with the reason, and what has no meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tools.export_coverage.factors import ACTION_KINDS, OBSERVATION_KINDS, Choice, group_of

_ACTOR_CRITIC = frozenset({"PPO", "A2C", "TRPO", "MaskablePPO", "RecurrentPPO"})
_ONLY_CONTINUOUS = frozenset({"DDPG", "TD3", "SAC", "TQC", "CrossQ"})
_ONE_NETWORK = frozenset({"DQN", "QR-DQN", "ARS", "ARS linear"})
_SEARCHED = frozenset({"ARS", "ARS linear"})


@dataclass(frozen=True, slots=True)
class Rule:
    """Which values of some factors do not go together.

    Attributes:
        factors: The factors that it looks at.
        forbids: Takes their values, in order.
        reason: Why, for the table; empty where the combination is not refused but has no meaning.
        who: What the reason is about, for the table.
    """

    factors: tuple[str, ...]
    forbids: Callable[..., bool]
    reason: str = ""
    who: str = ""


def _is(kinds: dict[str, tuple[str, ...]], value: str, *groups: str) -> bool:
    return group_of(kinds, value) in groups


def _action_is(value: str, *groups: str) -> bool:
    return _is(ACTION_KINDS, value, *groups)


def _observation_is(value: str, *groups: str) -> bool:
    return _is(OBSERVATION_KINDS, value, *groups)


_MADE_OF_BOXES = frozenset({"Dict stacked"})
_NORMALIZED_IMAGES = frozenset({"float32 CHW as it is"})

RULES = (
    # Algorithms and spaces
    Rule(
        ("algorithm", "action"),
        lambda algorithm, action: algorithm in {"DQN", "QR-DQN"} and not _action_is(action, "Discrete"),
        "they have one Q-value per action: Discrete actions only",
        "DQN, QR-DQN",
    ),
    Rule(
        ("algorithm", "action"),
        lambda algorithm, action: algorithm in _ONLY_CONTINUOUS and not _action_is(action, "Box"),
        "their actor gives numbers: Box actions only",
        "DDPG, TD3, SAC, TQC, CrossQ",
    ),
    Rule(
        ("algorithm", "action"),
        lambda algorithm, action: algorithm == "MaskablePPO" and _action_is(action, "Box"),
        "masks are of choices: no Box actions",
        "MaskablePPO",
    ),
    Rule(
        ("algorithm", "action"),
        lambda algorithm, action: (
            algorithm in _SEARCHED and _action_is(action, "MultiDiscrete", "MultiBinary")
        ),
        "its policies know Discrete and Box actions only",
        "ARS",
    ),
    Rule(
        ("algorithm", "observation"),
        lambda algorithm, observation: (
            algorithm in {*_SEARCHED, "CrossQ"} and _observation_is(observation, "image", "Dict")
        ),
        "they have no CnnPolicy and no MultiInputPolicy",
        "ARS, CrossQ",
    ),
    Rule(
        ("algorithm", "observation"),
        lambda algorithm, observation: algorithm in _SEARCHED and observation.endswith("as it is"),
    ),
    Rule(
        ("algorithm", "observation", "extractor"),
        lambda algorithm, observation, extractor: (
            algorithm == "RecurrentPPO"
            and observation in {"MultiDiscrete", "Dict of choices"}
            and extractor != "own module"
        ),
        "torch's LSTM refuses the width of one-hot MultiDiscrete, which is a numpy integer",
        "RecurrentPPO",
    ),
    # Statistics
    Rule(
        ("observation", "statistics"),
        lambda observation, statistics: (
            statistics == "normalized"
            and _observation_is(observation, "Discrete", "MultiDiscrete", "MultiBinary")
        ),
        "VecNormalize takes Box observations only",
        "VecNormalize",
    ),
    Rule(
        ("observation", "statistics"),
        lambda observation, statistics: (
            statistics == "normalized"
            and _observation_is(observation, "Dict")
            and observation not in _MADE_OF_BOXES
        ),
        "VecNormalize takes a Dict whole only if all its keys are Boxes; `norm_obs_keys` names some",
        "VecNormalize",
    ),
    Rule(
        ("observation", "statistics"),
        lambda observation, statistics: (
            statistics == "normalized"
            and _observation_is(observation, "image")
            and observation not in _NORMALIZED_IMAGES
        ),
        "normalized images are no images to CnnPolicy any more, unless `normalize_images=False` and their "
        "channels come first",
        "VecNormalize",
    ),
    Rule(
        ("observation", "statistics"),
        lambda observation, statistics: (
            statistics == "some keys normalized" and not _observation_is(observation, "Dict")
        ),
        "`norm_obs_keys` is for Dict observations",
        "VecNormalize",
    ),
    Rule(
        ("algorithm", "observation", "statistics"),
        lambda algorithm, observation, statistics: (
            algorithm in {*_ONLY_CONTINUOUS, "DQN", "QR-DQN"}
            and observation == "Dict with image"
            and statistics != "raw"
        ),
        "the replay buffer gets images as they were before their channels came first, and refuses them",
        "off-policy algorithms with VecNormalize and a Dict that has images with channels last",
    ),
    # Networks
    Rule(
        ("algorithm", "extractor"),
        lambda algorithm, extractor: algorithm in _ONE_NETWORK and extractor == "separate",
    ),
    Rule(
        ("algorithm", "extractor"),
        lambda algorithm, extractor: algorithm in _SEARCHED and extractor == "own module",
        "its policies take no extractor of one's own",
        "ARS",
    ),
    Rule(
        ("observation", "extractor"),
        lambda observation, extractor: (
            extractor == "own module" and _observation_is(observation, "image", "Dict")
        ),
    ),
    Rule(
        ("algorithm", "net"),
        lambda algorithm, net: algorithm in _ONE_NETWORK and net.startswith(("dict", "list of")),
        "they have one network: `net_arch` is a list",
        "DQN, QR-DQN, ARS",
    ),
    Rule(
        ("algorithm", "net"),
        lambda algorithm, net: algorithm in _ONLY_CONTINUOUS and net in {"dict of one", "list of a dict"},
        "`net_arch` as a dict needs both `pi` and `qf`, and not in a list",
        "DDPG, TD3, SAC, TQC, CrossQ",
    ),
    Rule(("algorithm", "net"), lambda algorithm, net: algorithm == "ARS linear" and net != "linear"),
    Rule(("net", "activation"), lambda net, activation: (net == "linear") != (activation == "none")),
    # From the last layer to the action
    Rule(
        ("action", "exploration"),
        lambda action, exploration: exploration != "plain" and not _action_is(action, "Box"),
        "gSDE and squashing are for Box actions",
        "all",
    ),
    Rule(
        ("algorithm", "exploration"),
        lambda algorithm, exploration: (
            exploration.startswith("gSDE") and algorithm in {"DDPG", "TD3", *_ONE_NETWORK}
        ),
        "they have no gSDE",
        "DDPG, TD3, ARS",
    ),
    Rule(
        ("algorithm", "exploration"),
        lambda algorithm, exploration: exploration == "gSDE squashed" and algorithm not in _ACTOR_CRITIC,
    ),
    Rule(
        ("algorithm", "exploration"),
        lambda algorithm, exploration: exploration in {"squashed", "clipped"} and algorithm not in _SEARCHED,
    ),
    Rule(
        ("algorithm", "action", "exploration"),
        lambda algorithm, action, exploration: (
            algorithm in _SEARCHED and _action_is(action, "Box") and exploration == "plain"
        ),
    ),
    # Recurrence
    Rule(("algorithm", "lstm"), lambda algorithm, lstm: (algorithm == "RecurrentPPO") == (lstm == "none")),
    Rule(
        ("extractor", "lstm"),
        lambda extractor, lstm: extractor == "separate" and lstm == "shared with critic",
        "a shared LSTM needs a shared extractor",
        "RecurrentPPO",
    ),
    # What export can be told
    Rule(
        ("observation", "states"),
        lambda observation, states: states == "environment" and observation.endswith("stacked"),
    ),
)


def allowed(choice: Choice) -> bool:
    """Whether nothing forbids these values; factors without a value yet are not judged."""
    return not any(
        rule.forbids(*(choice[factor] for factor in rule.factors))
        for rule in RULES
        if all(factor in choice for factor in rule.factors)
    )
