"""The states that a policy is judged by and compared with: recorded, played, or sampled, in this order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from steersman.bundle.specs import Contract, Mode
from steersman.export.policies.oracle import Oracle
from steersman.export.sources.asking import ask
from steersman.export.sources.episodes import Rollout
from steersman.export.sources.recorded import read_recording
from steersman.export.sources.rollouts import play
from steersman.export.sources.samples import sample_space
from steersman.export.sources.setting import Setting

OnSteps = Callable[[Mode, int], None]
"""Called with a mode and the number of steps played in it."""


def gather_rollouts(  # cap: parameters, each is another thing that a rollout depends on
    setting: Setting,
    oracle: Oracle,
    contract: Contract,
    *,
    recording: Path | None,
    episodes: int,
    seed: int,
    on_steps: OnSteps = lambda _, __: None,
) -> tuple[Rollout, ...]:
    """One rollout for each serving mode of the policy.

    Args:
        setting: Where the policy can play, and what its observations are.
        oracle: SB3's policy.
        contract: Says which modes there are.
        recording: File of recorded observations; goes before playing.
        episodes: Episodes of each mode; 0 plays none.
        seed: Makes it repeatable.
        on_steps: Hears of progress.

    Raises:
        ExportError: The file does not fit, or the environment failed.
    """
    if recording is not None:
        return _recorded(setting, oracle, contract, recording, seed)
    if setting.stage is None or episodes == 0:
        return tuple(
            sample_space(oracle, setting.observation_space, mode, episodes, seed=seed + i)
            for i, mode in enumerate(contract.modes)
        )
    with setting.stage.open(state=contract.state) as copies:
        return tuple(
            play(oracle, copies, mode, episodes, seed=seed, on_steps=partial(on_steps, mode))
            for mode in contract.modes
        )


def _recorded(
    setting: Setting, oracle: Oracle, contract: Contract, file: Path, seed: int
) -> tuple[Rollout, ...]:
    segments, recurrent = contract.action.mask_segments, bool(contract.state)
    recording = read_recording(file, setting.observation_space, segments, recurrent=recurrent)
    return tuple(
        Rollout(
            mode,
            ask(oracle, recording.episodes, mode, seed=seed, returns=recording.returns),
            origin="recorded",
        )
        for mode in contract.modes
    )
