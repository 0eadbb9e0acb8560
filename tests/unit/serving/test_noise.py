"""Noise: the published generator, reproducible row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import NoiseSpec
from steersman.serving.deciding.noise import draw, philox

SALT = b"\x01\x02\x03\x04\x05\x06\x07\x08"


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_words(counter: list[int], key: list[int], expected: list[int]) -> None:
    """Known answers of Random123 1.14 (kat_vectors, philox4x32 10)."""
    ids = np.array([counter], "<u4").view(np.uint8)
    words = philox(ids, np.array(key, "<u4").tobytes(), blocks=1)
    assert words[0].tolist() == expected


@given(rows=st.integers(2, 9), width=st.integers(1, 9), law=st.sampled_from(["uniform", "normal"]))
def test_a_row_has_the_same_noise_alone_and_in_a_batch(rows: int, width: int, law: str) -> None:
    ids = np.random.default_rng(rows).integers(0, 256, (rows, 16), dtype=np.uint8)
    spec = NoiseSpec.model_validate({"law": law, "width": width})
    together = draw(spec, ids, SALT)
    assert together.shape == (rows, width)
    for row in range(rows):
        assert draw(spec, ids[row : row + 1], SALT).tobytes() == together[row : row + 1].tobytes()


def test_other_salts_ids_and_columns_give_other_noise() -> None:
    ids = np.random.default_rng(0).integers(0, 256, (2, 16), dtype=np.uint8)
    spec = NoiseSpec(law="uniform", width=12)
    first = draw(spec, ids, SALT)
    assert np.unique(first).size == first.size
    assert not np.array_equal(first, draw(spec, ids, SALT[::-1]))


def test_uniforms_are_open_and_uniform() -> None:
    ids = np.random.default_rng(1).integers(0, 256, (20_000, 16), dtype=np.uint8)
    noise = draw(NoiseSpec(law="uniform", width=5), ids, SALT)
    assert 0 < noise.min() < noise.max() < 1
    counts = np.histogram(noise, 50, (0, 1))[0]
    expected = noise.size / 50
    assert ((counts - expected) ** 2 / expected).sum() < 49 + 5 * math.sqrt(2 * 49)


def test_normals_are_standard_normal() -> None:
    ids = np.random.default_rng(2).integers(0, 256, (20_000, 16), dtype=np.uint8)
    noise = draw(NoiseSpec(law="normal", width=5), ids, SALT).astype(np.float64)
    standard_error = 1 / math.sqrt(noise.size)
    assert abs(noise.mean()) < 5 * standard_error
    assert abs((noise**2).mean() - 1) < 5 * math.sqrt(2) * standard_error
    assert abs((noise**4).mean() - 3) < 5 * math.sqrt(96) * standard_error
    assert abs(np.corrcoef(noise.T) - np.eye(5)).max() < 5 / math.sqrt(len(noise))
