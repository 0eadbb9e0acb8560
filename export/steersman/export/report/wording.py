"""How a manifest is put into words: the card, the report and the terminal say the same things alike.

Names in a manifest come from whoever made it. What cannot be printed in them is shown as an escape, so that
none can move a terminal's cursor or turn the direction of a line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from steersman.bundle.manifest import Environment, Flips, Manifest, Parity, Returns
from steersman.bundle.specs import (
    ActionSpec,
    BoxAction,
    Contract,
    DiscreteAction,
    Distribution,
    MultiBinaryAction,
    MultiDiscreteAction,
    NoiseSpec,
    ObservationSpec,
    Shape,
    WrapperSpec,
)

MOST_NAMES = 32
"""Names that are listed in a line; more are counted."""

DISTRIBUTIONS: dict[Distribution, str] = {
    "categorical": "a probability for each choice",
    "gaussian": "a normal distribution for each action element",
    "squashed_gaussian": "a normal distribution for each action element, squashed by tanh into the bounds",
    "q_values": "Q-values, of which the largest is chosen",
    "deterministic": "none: the policy gives one action",
}

SYNTHETIC = (
    "Synthetic reference: no episodes were played and no observations recorded, so the evidence rests on "
    "samples of the observation space. The policy may never meet such observations: figures of changed "
    "decisions say little about its work, and drift measured against this reference means nothing."
)


def printable(text: str) -> str:
    """The text with control and formatting characters written as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def listed(names: Sequence[str]) -> str:
    """At most `MOST_NAMES` names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(printable(name) for name in names[:MOST_NAMES])}{more}"


def origin(manifest: Manifest) -> str:
    """What made the policy: algorithm, environment, training."""
    made = manifest.provenance
    parts = [printable(f"{made.algorithm} on {made.environment.id}" if made.environment else made.algorithm)]
    if made.train_steps:
        parts.append(f"{made.train_steps:,} steps")
    if made.mean_return is not None:
        parts.append(f"mean return {made.mean_return:.1f}")
    return ", ".join(parts)


def environment_text(environment: Environment) -> str:
    """The environment with its arguments and the module that registers it."""
    text = environment.id
    if environment.kwargs:
        text += f" with {json.dumps(environment.kwargs, ensure_ascii=False, default=str)}"
    if environment.import_module:
        text += f", registered by {environment.import_module}"
    return printable(text)


def observation_text(spec: ObservationSpec) -> str:
    """Type, shape and range of an observation tensor."""
    return f"{spec.dtype} {shape_text(spec.shape)}, {range_text(spec.low, spec.high)}"


def action_text(action: ActionSpec) -> str:
    """What kind of action it is, and how many there are to choose from."""
    match action:
        case DiscreteAction():
            first, last = action.start, action.start + action.n - 1
            return f"{action.dtype}, one of {action.n} choices, {first} to {last}"
        case MultiDiscreteAction():
            counts = " x ".join(map(str, action.nvec))
            return f"{action.dtype} {shape_text(action.shape)}, {counts} choices at once"
        case MultiBinaryAction():
            return f"{action.dtype} {shape_text(action.shape)}, {action.n} switches, each 0 or 1"
        case BoxAction():
            return f"{action.dtype} {shape_text(action.shape)}, {range_text(action.low, action.high)}"


def element_names(action: ActionSpec) -> tuple[str, ...]:
    """Name of each choice of a Discrete action, of each element of the others; numbers where undeclared."""
    if isinstance(action, DiscreteAction):
        return action.names or tuple(str(action.start + k) for k in range(action.n))
    return action.names or tuple(str(i) for i in range(math.prod(action.shape)))


def mask_text(contract: Contract) -> str:
    """Whether there are action masks, and how they are laid out."""
    segments = contract.action.mask_segments
    if not segments:
        return "Masks do not apply to continuous actions."
    if len(segments) == 1:
        return f"An action mask of {segments[0]} columns is obeyed."
    widths = ", ".join(map(str, segments[:MOST_NAMES])) + (", …" if len(segments) > MOST_NAMES else "")
    return f"An action mask of {contract.mask_width} columns is obeyed, in {len(segments)} parts: {widths}."


def noise_text(noise: NoiseSpec | None) -> str:
    """What sampling needs."""
    if noise is None:
        return "The policy cannot be sampled."
    law = "uniform numbers between 0 and 1" if noise.law == "uniform" else "standard normal numbers"
    kept = ", the same for a whole episode" if noise.scope == "episode" else ", new ones at every step"
    return f"Sampling takes {noise.width} {law}{kept}."


def wrapper_text(wrapper: WrapperSpec) -> str:
    """What a caller has to do, and the arguments of the wrapper that did it in training."""
    arguments = json.dumps(wrapper.arguments, ensure_ascii=False) if wrapper.arguments else ""
    return printable(f"{wrapper.name}{f' {arguments}' if arguments else ''}: {wrapper.instruction}")


def shape_text(shape: Shape) -> str:
    """Such as [4, 84, 84]; [] for a scalar."""
    return str(list(shape))


def range_text(low: Sequence[float], high: Sequence[float]) -> str:
    """The bounds: one pair where all elements have the same, or else the extremes."""
    if all(map(math.isinf, (*low, *high))):
        return "unbounded"
    alike = len(set(low)) == len(set(high)) == 1
    return f"{number(min(low))} to {number(max(high))}{'' if alike else ' (differs by element)'}"


def number(value: float) -> str:
    """Four digits; infinity as a sign."""
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    return f"{value + 0.0:.4g}"  # -0 becomes 0


def size_text(size_bytes: int | None) -> str:
    """In kB or MB of 1000."""
    if size_bytes is None:
        return ""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def latency_text(latency_us: dict[int, float], batch: int) -> str:
    """Median of one run at this batch size; empty where it was not measured."""
    taken = latency_us.get(batch)
    if taken is None:
        return ""
    return f"{taken / 1e3:.1f} ms" if taken >= 10_000 else f"{taken:.0f} µs"


def flips_text(flips: Flips | None) -> str:
    """Changed decisions with the upper end of the one-sided 95 % interval of their rate."""
    return f"{flips.flips:,} of {flips.states:,} (≤ {flips.upper_95:.2%})" if flips else ""


def returns_text(returns: Returns | None) -> str:
    """Mean return with its 95 % interval."""
    if returns is None:
        return ""
    return f"{returns.mean:.2f} ({returns.low_95:.2f} to {returns.high_95:.2f})"


def difference_text(returns: Returns | None) -> str:
    """Mean paired difference from fp32, with its 95 % interval; empty where there is none."""
    if returns is None or returns.difference is None:
        return ""
    text = f"{returns.difference:+.2f}"
    if returns.difference_low_95 is None or returns.difference_high_95 is None:
        return text
    return f"{text} ({returns.difference_low_95:+.2f} to {returns.difference_high_95:+.2f})"


def parity_text(parity: Parity) -> str:
    """How fp32 compares with SB3."""
    text = f"{parity.states:,} states, {parity.disagreements:,} disagreements"
    if parity.ties:
        text += f", {parity.ties:,} ties left out"
    if parity.rounding:
        text += f", {parity.rounding:,} where float32 leaves SB3's own answer open"
    if parity.max_action_error:
        text += f", largest difference of an action {parity.max_action_error:.2g}"
    if parity.sequence_steps:
        text += f"; {parity.sequence_steps:,} steps of recurrent sequences"
    return text


def reference_lines(manifest: Manifest) -> tuple[str, ...]:
    """What the reference was made from: a line for each mode."""
    reference = manifest.reference
    lines = []
    for mode, episodes in reference.episodes.items():
        text = f"{mode} {count(episodes, 'episode')}"
        if mode in reference.steps:
            text += f" of {reference.steps[mode]:,} steps"
        if mode in reference.mean_return:
            text += f", mean return {reference.mean_return[mode]:.1f}"
        lines.append(text)
    return tuple(lines)


def reference_source(manifest: Manifest) -> str:
    """Where the reference's observations come from, in a few words."""
    reference = manifest.reference
    if reference.synthetic:
        return "samples of the observation space"
    return "recorded observations" if reference.source == "recorded" else "episodes in the environment"


def library_versions(libraries: Iterable[tuple[str, str]], when: str) -> str:
    """Versions of one time, `trained` or `exported`, in a line."""
    return ", ".join(
        printable(f"{name.partition('.')[2]} {version}")
        for name, version in libraries
        if name.startswith(f"{when}.")
    )


def count(number_of: int, noun: str) -> str:
    """Such as `1 episode`, `1,000 episodes`."""
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"
