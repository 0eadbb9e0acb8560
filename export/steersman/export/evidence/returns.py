"""Whether a variant earns what fp32 earns, over episodes that both play with the same seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.manifest import Returns
from steersman.bundle.session import PolicySession
from steersman.export.evidence.intervals import mean_interval
from steersman.export.policies.family import Acted
from steersman.export.policies.inputs import Inputs
from steersman.export.sources.copies import Act

Episodes = NDArray[np.float64]
"""[episodes] undiscounted returns; those of different variants come in pairs, by seed."""
ReturnsOf = Callable[[Act], Episodes]
"""Plays the episodes; the same seeds whoever acts."""
LARGEST_LOSS = 0.01
"""Gate: how much of fp32's mean return a variant may lose."""


def acting(session: PolicySession) -> Act:
    """How a variant acts."""
    states = tuple(spec.name for spec in session.contract.state)
    names = ("action", *(f"next_state/{name}" for name in states))

    def act(inputs: Inputs) -> Acted:
        feeds = session.feeds(
            inputs.observations,
            inputs.action_mask,
            state=inputs.state or None,
            episode_start=inputs.episode_start,
        )
        action, *following = session.run(names, {k: np.ascontiguousarray(v) for k, v in feeds.items()})
        return Acted(action, dict(zip(states, following, strict=True)))

    return act


def summarize(returns: Episodes, fp32: Episodes | None = None) -> Returns:
    """Mean and interval, and with fp32's returns those of the paired differences (Student's t)."""
    low, high = mean_interval(returns)
    summary = Returns(episodes=len(returns), mean=float(returns.mean()), low_95=low, high_95=high)
    if fp32 is None:
        return summary
    lost = returns - fp32
    low, high = mean_interval(lost)
    return summary.model_copy(
        update={
            "difference": float(lost.mean()),
            "difference_low_95": low,
            "difference_high_95": high,
        }
    )


def margin(fp32: Episodes) -> float:
    """The loss that is tolerated: `LARGEST_LOSS` of the size of fp32's mean return.

    A mean that cannot be told from zero says nothing about size: then the same share of the standard
    deviation over episodes.
    """
    low, high = mean_interval(fp32)
    size = float(fp32.std()) if low <= 0 <= high and len(fp32) > 1 else abs(float(fp32.mean()))
    return LARGEST_LOSS * size


def return_gate(returns: Episodes, fp32: Episodes) -> str | None:
    """Why these returns keep a variant out; None when they do not.

    The mean paired difference must not lie below minus the margin. Where the episodes are enough to tell (the
    interval reaches no further than the margin from its middle), neither must the lower end of its 95 %
    interval: then the variant is shown to be not inferior. With few episodes or noisy ones the interval is
    wider than that whatever the variant does; it is reported, and the estimate decides.
    """
    allowed, (low, high) = margin(fp32), mean_interval(returns - fp32)
    loss, telling = -float((returns - fp32).mean()), (high - low) / 2 <= allowed
    if loss <= allowed and not (telling and -low > allowed):
        return None
    return (
        f"the mean return over {len(returns)} paired episodes changes by {-loss:+.4g} (95 % interval "
        f"{low:+.4g} to {high:+.4g}) from fp32's {fp32.mean():.4g}; the gate is a loss of {allowed:.3g}"
    )
