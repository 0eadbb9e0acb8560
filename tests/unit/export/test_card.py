"""The card and what `inspect` prints: the whole contract of every kind of policy, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from steersman.bundle.bundle import Bundle
from steersman.bundle.signature import SignatureCheck
from steersman.bundle.specs import DiscreteAction
from steersman.export.report.card import write_card
from steersman.export.report.display import print_contract
from support.sample_manifests import CONTRACTS, contract, sample, vector

EXPECTED = {
    "discrete": ("pole_angle", "push_left", "one of 2 choices", "2 uniform numbers", "An action mask of 2"),
    "many features": ("one of 16 choices, 5 to 20",),
    "continuous": ("squashed by tanh", "-2 to 2", "the same for a whole episode", "Masks do not apply"),
    "dict": ("obs/camera", "uint8 [84, 84, 3]", "obs/gps", "3 x 2 x 4 choices", "in 3 parts: 3, 2, 4"),
    "recurrent": ("3 switches", "actor_h [1, 256]", "frame_stack", "Give the last four observations"),
    "q values": ("Q-values", "The policy cannot be sampled"),
    "deterministic": ("the policy gives one action",),
}
ALWAYS = (
    "PPO on CartPole-v1",
    'with {"render_mode": null}, registered by my.envs',
    "static_qdq_hidden",
    "12 of 39,887 (≤ 0.05%)",
    "-56.00 (-56.80 to -55.30)",
    "its scale spans the batch",
    "10,076 states, 0 disagreements",
    "torch 1.13.1, stable_baselines3 1.8.0",
    "cd" * 32,
)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_card_says_all_that_is_known(name: str) -> None:
    card = write_card(sample(name).manifest)
    for words in (*ALWAYS, *EXPECTED[name]):
        assert words in card


def printed(name: str, capsys: pytest.CaptureFixture[str], **check: tuple[str, ...]) -> str:
    manifest = sample(name).manifest
    print_contract(Bundle(Path("bundle"), manifest, "9" * 64), SignatureCheck(**check))
    return capsys.readouterr().out


SHOWN = {
    "discrete": ("1 push_right", "rad/s", "obs", "action_mask"),
    "many features": ("all 64", "one of 16 choices"),
    "continuous": ("brake", "noise", "[512]"),
    "dict": ("obs/camera", "all 21,168", "north", "2 horn"),
    "recurrent": (
        "state/actor_h",
        "episode_start",
        "the input state/actor_c of the next step",
        "frame_stack",
    ),
    "q values": ("Q-values", "Modes: greedy."),
    "deterministic": ("all 6",),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_inspect_prints_the_whole_contract(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(name, capsys)
    for words in (*ALWAYS, *SHOWN[name], *sample(name).manifest.contract.inputs, "9" * 64, "Not signed"):
        assert words in shown


def test_inspect_says_who_signed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Signed by aa11" in printed("discrete", capsys, signers=("aa11",))
    assert "Signed with ml-dsa-65, which is not known here" in printed("dict", capsys, unknown=("ml-dsa-65",))


def test_a_synthetic_reference_is_said_loudly(capsys: pytest.CaptureFixture[str]) -> None:
    card = write_card(sample("discrete", synthetic=True).manifest)
    assert "> **Synthetic reference" in card.split("##")[0]


EVIL = "<b>[red]a|b\x1b[2J\u202e"


def test_names_can_neither_mark_up_nor_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = contract(
        vector(1, key=EVIL, feature_names=(EVIL,)), action=DiscreteAction(n=1, names=(EVIL,)), inside=(EVIL,)
    )
    manifest = sample("", hostile, algorithm=EVIL, run=EVIL).manifest
    print_contract(Bundle(Path("bundle"), manifest, "9" * 64), SignatureCheck())
    shown, card = capsys.readouterr().out, write_card(manifest)
    for text in (shown, card):
        assert not {"\x1b", "\u202e"} & set(text)
        assert "[red]a" in text
    assert "<b>" not in card
