"""How much a client may do beyond one attempt a call: retries that cannot storm, hedges that stay few."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_TOKENS = 100.0
"""Tokens of a full throttle. Above half of them a replica is retried: fifty failures in a row shut it."""

TOKEN_RATIO = 0.1
"""Tokens that one success gives back: once shut, a replica gets one retry for ten good calls."""

HEDGE_SHARE = 0.05
"""Hedges per call, in the long run."""

HEDGE_BURST = 5.0
"""Hedges that may be saved up, and that a new client has."""


@dataclass(slots=True)
class RetryThrottle:
    """Whether a replica may be sent more than first attempts.

    Source: gRFC A6, "Throttling Retry Attempts and Hedged RPCs": a failure takes a token, a success gives
    back a part of one, and nothing is repeated while half of them or fewer are left. There it is kept for
    each server name; here for each replica, so that a replica that died does not forbid going to the
    others.

    Example:
        >>> throttle = RetryThrottle()
        >>> for _ in range(50):
        ...     throttle.failed()
        >>> throttle.open
        False
    """

    tokens: float = MAX_TOKENS

    @property
    def open(self) -> bool:
        """Whether a retry or a hedge may go there."""
        return self.tokens > MAX_TOKENS / 2

    def failed(self) -> None:
        """An attempt failed in a way that invites retries."""
        self.tokens = max(0.0, self.tokens - 1.0)

    def succeeded(self) -> None:
        """An attempt was answered."""
        self.tokens = min(MAX_TOKENS, self.tokens + TOKEN_RATIO)


@dataclass(slots=True)
class HedgeBudget:
    """A token bucket: each call brings `HEDGE_SHARE` of a hedge, and `HEDGE_BURST` of them can be saved."""

    tokens: float = HEDGE_BURST

    def call(self) -> None:
        """A call that might be hedged has begun."""
        self.tokens = min(HEDGE_BURST, self.tokens + HEDGE_SHARE)

    def take(self) -> bool:
        """Whether there is a hedge left; it is then spent."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclass(slots=True)
class TailLatency:
    """A running estimate of the 95th percentile of latencies, in one number.

    Each sample moves the estimate up by a factor if it was above, and down if it was below, by steps that
    balance where 5 % of samples are above (stochastic approximation of a quantile; Robbins and Monro 1951;
    Ma, Muthukrishnan and Sandler, "Frugal Streaming for Estimating Quantiles", 2013). In logarithms, so
    that microseconds and seconds are tracked alike. Hedges, which cut latencies short, do not bias it: only
    whether a sample was above counts.

    Attributes:
        log_seconds: The estimate.
        samples: How many latencies it has seen.
    """

    log_seconds: float = 0.0
    samples: int = 0

    QUANTILE = 0.95
    STEP = 0.2
    WARM_UP = 100

    def add(self, seconds: float) -> None:
        """A call took this long."""
        sample = math.log(max(seconds, 1e-6))
        self.samples += 1
        if self.samples == 1:
            self.log_seconds = sample
        elif sample > self.log_seconds:
            self.log_seconds += self.STEP * self.QUANTILE
        else:
            self.log_seconds -= self.STEP * (1.0 - self.QUANTILE)

    @property
    def seconds(self) -> float | None:
        """The estimate; None until enough calls were seen."""
        return math.exp(self.log_seconds) if self.samples >= self.WARM_UP else None
