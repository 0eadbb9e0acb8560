"""The episodes that an export rests on: played, recorded, or samples of the space where nothing is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from steersman.bundle.specs import Contract
from steersman.export.policies.oracle import Oracle
from steersman.export.sources.asking import ask
from steersman.export.sources.episodes import Rollout
from steersman.export.sources.recorded import read_recording
from steersman.export.sources.rollouts import play
from steersman.export.sources.samples import sample_space
from steersman.export.sources.setting import Setting

Say = Callable[[str, float], None]


def gather_rollouts(
    oracle: Oracle,
    setting: Setting,
    contract: Contract,
    *,
    observations: Path | None,
    episodes: int,
    seed: int,
    say: Say,
) -> tuple[Rollout, ...]:
    """One rollout per serving mode.

    Args:
        oracle: SB3's policy.
        setting: What it observes, and where it can play.
        contract: Its modes get a rollout each.
        observations: A file of recorded ones; it goes before playing.
        episodes: How many at least; 0 plays none.
        seed: Makes it repeatable.
        say: Told what is going on and the share that is done.
    """
    if observations is not None:
        say("Asking about recorded observations", 0.0)
        return _recorded(oracle, setting, contract, observations, seed)
    if setting.stage is None or episodes == 0:
        say("Sampling the observation space", 0.0)
        return tuple(
            sample_space(oracle, setting.observation_space, mode, episodes, seed=seed)
            for mode in contract.modes
        )
    with setting.stage.open(state=contract.state) as copies:
        return tuple(
            play(
                oracle,
                copies,
                mode,
                episodes,
                seed=seed + i,
                on_steps=_told(say, mode, i / len(contract.modes)),
            )
            for i, mode in enumerate(contract.modes)
        )


def _recorded(
    oracle: Oracle, setting: Setting, contract: Contract, file: Path, seed: int
) -> tuple[Rollout, ...]:
    recording = read_recording(
        file,
        setting.observation_space,
        contract.action.mask_segments,
        recurrent=bool(contract.state),
    )
    return tuple(
        Rollout(
            mode,
            ask(oracle, recording.episodes, mode, seed=seed, returns=recording.returns),
            origin="recorded",
        )
        for mode in contract.modes
    )


def _told(say: Say, mode: str, share: float) -> Callable[[int], None]:
    def told(steps: int) -> None:
        if steps % 1_000 < 25:
            say(f"Playing {mode} episodes, {steps:,} steps", share)

    return told
