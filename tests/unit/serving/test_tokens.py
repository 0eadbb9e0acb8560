"""Episode tokens: what was signed is read again, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.serving.decision import Reason
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.tokens import (
    FORMAT,
    HASH_BYTES,
    EpisodeToken,
    TokenCodec,
    episode_hash,
    lane_hash,
)

GOLDEN = Path(__file__).parents[2] / "contract" / "golden" / "tokens.json"
KEYS = {1: "11" * 32, 2: "22" * 32}
CODEC = TokenCodec(Keyring(current=1, keys=KEYS))
NOW = 1_700_000_000
TOKEN = EpisodeToken(
    lane_hash("stable"), b"e" * 16, b"b" * 16, 3, NOW + 60, NOW * 10**9, 0.25, b"act", b"state"
)
SIGNED = CODEC.sign(TOKEN)
INTS = st.integers(-(2**63), 2**63 - 1)
HASHES = st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)
TOKENS = st.builds(
    EpisodeToken,
    lane=st.integers(0, 2**32 - 1),
    episode=HASHES,
    bundle=HASHES,
    step=INTS,
    expires=st.integers(NOW, 2**63 - 1),
    decided=INTS,
    share=st.floats(allow_nan=False),
    action=st.binary(max_size=40),
    state=st.binary(max_size=600),
    extra=st.binary(max_size=40),
)


def test_golden_tokens_read_forever() -> None:
    """Bytes that an older release signed, with keys that are in the file."""
    golden = json.loads(GOLDEN.read_text())
    for row in golden["tokens"]:
        codec = TokenCodec(Keyring.model_validate({"current": row["key"], "keys": golden["keys"]}))
        fields = EpisodeToken(
            lane=lane_hash(row["lane"]),
            episode=episode_hash(row["policy"], row["episode_id"]),
            **{name: bytes.fromhex(row[name]) for name in ("bundle", "action", "state", "extra")},
            **{name: row[name] for name in ("step", "expires", "decided", "share")},
        )
        assert codec.read(bytes.fromhex(row["token"]), now_s=NOW) == fields
        assert codec.sign(fields).hex() == row["token"]


@given(TOKENS)
def test_what_is_signed_is_read_again(token: EpisodeToken) -> None:
    assert CODEC.read(CODEC.sign(token), now_s=NOW) == token


@pytest.mark.parametrize("place", range(len(SIGNED)))
def test_every_changed_byte_is_noticed(place: int) -> None:
    for change in (1, 0x80, 0xFF):
        forged = bytearray(SIGNED)
        forged[place] ^= change
        assert CODEC.read(bytes(forged), now_s=NOW) is Reason.EPISODE_TOKEN_INVALID


@pytest.mark.parametrize("length", range(len(SIGNED)))
def test_every_shortened_token_is_noticed(length: int) -> None:
    assert CODEC.read(SIGNED[:length], now_s=NOW) is Reason.EPISODE_TOKEN_INVALID
    assert CODEC.read(SIGNED[len(SIGNED) - length :], now_s=NOW) is Reason.EPISODE_TOKEN_INVALID


@given(st.binary(min_size=1, max_size=64), st.integers(0, len(SIGNED)))
def test_every_lengthened_token_is_noticed(more: bytes, place: int) -> None:
    longer = SIGNED[:place] + more + SIGNED[place:]
    assert CODEC.read(longer, now_s=NOW) is Reason.EPISODE_TOKEN_INVALID


@given(st.binary(max_size=300))
def test_noise_is_no_token(data: bytes) -> None:
    assert CODEC.read(data, now_s=NOW) is Reason.EPISODE_TOKEN_INVALID
    assert CODEC.read(bytes([FORMAT, 1]) + data, now_s=NOW) is Reason.EPISODE_TOKEN_INVALID


def test_bytes_cannot_move_from_one_part_to_the_next() -> None:
    """Sizes are under the tag, too."""
    moved = CODEC.sign(TOKEN._replace(action=b"actst", state=b"ate"))
    assert moved != SIGNED
    assert CODEC.read(moved[:-16] + SIGNED[-16:], now_s=NOW) is Reason.EPISODE_TOKEN_INVALID


def test_a_token_is_good_until_its_last_second() -> None:
    assert CODEC.read(SIGNED, now_s=NOW + 60.0) == TOKEN
    assert CODEC.read(SIGNED, now_s=NOW + 60.001) is Reason.EPISODE_TOKEN_EXPIRED


def test_a_forged_expiry_is_forged_and_not_expired() -> None:
    forged = bytearray(CODEC.sign(TOKEN._replace(expires=1)))
    forged[-1] ^= 1
    assert CODEC.read(bytes(forged), now_s=NOW) is Reason.EPISODE_TOKEN_INVALID


def test_keys_are_changed_without_a_token_lost() -> None:
    """Add the key, make it current, take the old one out: in between both read both."""
    old = TokenCodec(Keyring(current=1, keys={1: KEYS[1]}))
    added = TokenCodec(Keyring(current=1, keys=KEYS))
    moved = TokenCodec(Keyring(current=2, keys=KEYS))
    done = TokenCodec(Keyring(current=2, keys={2: KEYS[2]}))
    before, after = added.sign(TOKEN), moved.sign(TOKEN)
    assert old.sign(TOKEN) == before != after
    assert added.read(after, now_s=NOW) == moved.read(before, now_s=NOW) == TOKEN
    assert done.read(after, now_s=NOW) == TOKEN
    assert done.read(before, now_s=NOW) is Reason.EPISODE_TOKEN_INVALID
    assert old.read(after, now_s=NOW) is Reason.EPISODE_TOKEN_INVALID


def test_another_key_of_the_same_number_is_another_key() -> None:
    other = TokenCodec(Keyring(current=1, keys={1: KEYS[2]}))
    assert other.read(SIGNED, now_s=NOW) is Reason.EPISODE_TOKEN_INVALID


def test_policy_and_episode_cannot_run_into_each_other() -> None:
    assert episode_hash("ab", "c") != episode_hash("a", "bc")
    assert episode_hash("a", "") != episode_hash("", "a")
