"""Which lane an episode belongs to: a stable hash of its id, salted by the rollout.

    hash   = the first 8 bytes of SHA-256(rollout_id + "/" + episode_id), UTF-8, big-endian
    bucket = hash >> 32, one of 2^32

A canary is the first `share` of the buckets and a control group the last, so that both only grow when their
shares do: an episode that is in stays in (a monotone ramp, as in Kohavi, Tang, Xu: Trustworthy Online
Controlled Experiments, 2020, chapter 15). Arms lie one after the other in the order of their names; moving
their borders would hand episodes from one arm to another, so that begins a new rollout with a new salt.
Golden vectors for other languages: `tests/contract/golden/assignment.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from steersman.serving.rollout.deployment import CANARY, CONTROL, STABLE

BUCKETS = 2**32

Buckets = tuple[int, int]
"""First bucket and the one after the last."""


def bucket(rollout_id: str, episode_id: str) -> int:
    """The episode's bucket, 0 to 2^32 - 1."""
    return int.from_bytes(sha256(f"{rollout_id}/{episode_id}".encode()).digest()[:4], "big")


def canary_buckets(*, canary: float = 0.0, control: float = 0.0) -> dict[str, Buckets]:
    """Buckets of the lanes of a canary rollout. The shares are at most 1 together."""
    end = round(canary * BUCKETS)
    begin = max(end, BUCKETS - round(control * BUCKETS))
    return {STABLE: (end, begin), CANARY: (0, end), CONTROL: (begin, BUCKETS)}


def arm_buckets(shares: Mapping[str, float]) -> dict[str, Buckets]:
    """Buckets of the arms of an A/B test; the shares add up to 1."""
    buckets, total, begin = {}, 0.0, 0
    for name in sorted(shares):
        total += shares[name]
        end = round(total * BUCKETS)
        buckets[name] = (begin, end)
        begin = end
    return buckets
