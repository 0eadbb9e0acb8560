"""Arrays in a file: no pickles, no surprises."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from steersman.bundle import arrays as module
from steersman.bundle.arrays import pack, unpack
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.reference import Reference, pack_references, smoothed_shares, unpack_references
from steersman.monitoring.reference import build_reference
from support.toy_bundle import box_contract, discrete_contract

anything = arrays.arrays(
    st.sampled_from(["?", "i1", "u2", "i8", "f2", "f4", "f8"]), arrays.array_shapes(min_dims=0, min_side=0)
)
names = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)


@given(st.dictionaries(names, anything, max_size=4))
def test_arrays_round_trip_to_the_same_bytes(content: dict[str, NDArray[Any]]) -> None:
    data = pack(content)
    found = unpack(data, "here")
    assert found.keys() == content.keys()
    for name, array in content.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    assert pack(dict(reversed(found.items()))) == data


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def object_array() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, tie=np.array([{}, print], object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        object_array(),
        b"",
        b"PK",
        npz(tie=b"no array"),
        npz(tie=b"\x93NUMPY\x01\x00"),
        pack({"a": np.ones(9)})[:-30],
    ],
    ids=["objects", "empty", "no zip", "no array", "cut array", "cut zip"],
)
def test_anything_else_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(BundleCorruptError, match="here: not a file of plain arrays") as caught:
        unpack(data, "here")
    assert "\n" not in str(caught.value)


@given(st.data())
def test_a_changed_file_never_raises_anything_else(data: st.DataObject) -> None:
    whole = bytearray(pack({"a": np.arange(12.0), "b": np.ones((2, 2), np.int8)}))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        unpack(bytes(whole), "here")
    except BundleCorruptError:
        return


def test_arrays_that_unpack_to_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack({"a": np.zeros(10_000)})
    assert len(data) < 1_000
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    with pytest.raises(BundleCorruptError, match="arrays are too large"):
        unpack(data, "here")


def reference() -> Reference:
    rng = np.random.default_rng(0)
    episodes = [rng.normal(size=(10, 4)) for _ in range(6)]
    actions = [rng.integers(3, size=10) for _ in episodes]
    return build_reference(episodes, actions, discrete_contract(), replicates=50)


def test_references_round_trip() -> None:
    made = reference()
    found = unpack_references(pack_references({"greedy": made, "sampled": made}), "here")
    assert set(found) == {"greedy", "sampled"}
    for name in ("feature_edges", "feature_counts", "action_counts", "feature_thresholds", "episodes"):
        assert np.array_equal(getattr(found["sampled"], name), getattr(made, name))


def test_a_reference_that_lacks_an_array_is_refused() -> None:
    whole = unpack(pack_references({"greedy": reference()}), "here")
    del whole["greedy/action_edges"]
    with pytest.raises(BundleCorruptError, match="here: array 'greedy/action_edges' is missing"):
        unpack_references(pack(whole), "here")


def changed(name: str, array: NDArray[Any] | float) -> bytes:
    whole = unpack(pack_references({"greedy": reference()}), "here")
    return pack({**whole, f"greedy/{name}": np.asarray(array)})


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("feature_edges", np.zeros((4, 10))),
        ("feature_edges", np.zeros((3, 11))),
        ("feature_edges", np.arange(44.0)[::-1].reshape(4, 11)),
        ("feature_edges", np.full((4, 11), np.nan)),
        ("feature_counts", np.ones((4, 13))),
        ("feature_counts", np.full((4, 13), -1)),
        ("feature_counts", np.int64(1)),
        ("feature_design_effect", np.ones(5)),
        ("feature_degrees_of_freedom", np.ones(4, np.float32)),
        ("feature_thresholds", np.ones((6, 2, 1))),
        ("action_edges", np.zeros((1, 11))),
        ("action_counts", np.ones((2, 3), np.int64)),
        ("action_counts", np.ones((0, 3), np.int64)),
        ("action_thresholds", np.ones((6, 2, 3))),
        ("windows", np.array([], np.int64)),
        ("windows", np.arange(5)),
        ("alarm_rates", np.ones((2, 1))),
        ("episodes", np.array([6])),
        ("episodes", 0),
    ],
)
def test_references_whose_arrays_do_not_fit_are_refused(name: str, array: NDArray[Any] | float) -> None:
    with pytest.raises(BundleCorruptError, match="here: "):
        unpack_references(changed(name, array), "here")


@pytest.mark.parametrize("mode", ["grady", "", "greedy "])
def test_references_of_unknown_modes_are_refused(mode: str) -> None:
    with pytest.raises(BundleCorruptError, match="expected greedy or sampled"):
        unpack_references(pack_references({mode: reference()}), "here")


def test_a_file_of_no_reference_is_refused() -> None:
    with pytest.raises(BundleCorruptError, match="expected greedy or sampled"):
        unpack_references(pack({}), "here")


def test_references_of_continuous_actions_round_trip() -> None:
    rng = np.random.default_rng(0)
    episodes = [rng.normal(size=(10, 4)) for _ in range(6)]
    actions = [rng.normal(size=(10, 2)) for _ in episodes]
    for made in (
        build_reference(episodes, actions, box_contract(), replicates=20),
        build_reference([x[:, :0] for x in episodes], actions, box_contract(), replicates=20),
    ):
        found = unpack_references(pack_references({"greedy": made}), "here")["greedy"]
        assert found.action_edges.shape == (2, 11)


@given(arrays.arrays("i8", (3, 5), elements=st.integers(0, 10**6)))
def test_shares_are_positive_and_sum_to_one(counts: NDArray[np.int64]) -> None:
    shares = smoothed_shares(counts)
    assert (shares > 0).all()
    assert np.allclose(shares.sum(axis=1), 1.0)
