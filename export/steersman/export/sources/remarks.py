"""What a person should know about states that were not played but judge an export all the same."""

from __future__ import annotations

from collections.abc import Sequence

from steersman.export.sources.episodes import Rollout

FEW_ROWS = 100
"""With fewer recorded states, hardly anything that a policy does is seen."""
_UNMASKED = {
    "recorded": (
        "the recorded observations have no masks, so every choice was allowed in them; record action_mask too"
    ),
    "space": (
        "samples of the observation space have no masks, so every choice was allowed in them; "
        "give --env, or --observations with action_mask"
    ),
}


def remarks(algorithm: str, rollouts: Sequence[Rollout]) -> tuple[str, ...]:
    """Remarks on these rollouts of a policy of this algorithm."""
    found = []
    first = rollouts[0]
    if first.origin == "recorded" and first.steps < FEW_ROWS:
        found.append(f"only {first.steps} recorded states judged the export; some thousands say far more")
    unmasked = any(episode.inputs.action_mask is None for episode in first.episodes)
    if algorithm == "MaskablePPO" and unmasked and first.origin in _UNMASKED:
        found.append(_UNMASKED[first.origin])
    return tuple(found)
