"""Running the certificate: what it lets pass and what it notices, with a policy that any test can bend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from steersman.bundle.arrays import pack, unpack
from steersman.bundle.bundle import Bundle
from steersman.bundle.certificate import Certificate, run_certificate
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.manifest import CERTIFICATE_FILE, Tolerance
from steersman.bundle.session import PolicySession

Array = NDArray[Any]
EXACT = Tolerance(atol=1e-6)
ROWS = 16


class Bent(PolicySession):
    """Answers action [N], distribution [N, 2] and value [N] from the observation, and then as told."""

    def __init__(self, bend: Callable[[dict[str, Array], Array], None] = lambda *_: None) -> None:
        self._bend = bend

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        obs = feeds["obs"]
        with np.errstate(invalid="ignore"):
            answers = {
                "action": (obs[:, 0] > 0).astype(np.int64),
                "distribution": np.stack([obs[:, 0], -obs[:, 0]], axis=1),
                "value": obs[:, 1].copy(),
            }
        self._bend(answers, obs)
        return [answers[name] for name in outputs]


def certificate(tie: Sequence[int] = ()) -> Certificate:
    rng = np.random.default_rng(0)
    inputs = {"obs": rng.normal(size=(ROWS, 2)).astype(np.float32)}
    names = ("action", "distribution", "value")
    expected = dict(zip(names, Bent().run(names, inputs), strict=True))
    return Certificate(inputs, expected, np.isin(np.arange(ROWS), tie))


def add(name: str, row: int, by: float) -> Callable[[dict[str, Array], Array], None]:
    """Changes an answer wherever this row of the certificate is asked about."""
    target = certificate().inputs["obs"][row]

    def bend(answers: dict[str, Array], obs: Array) -> None:
        answers[name][(obs == target).all(axis=1)] += np.asarray(by, answers[name].dtype)

    return bend


def test_the_recorded_answers_pass() -> None:
    result = run_certificate(Bent(), certificate(), EXACT)
    assert result.passed
    assert (result.rows, result.flips, result.max_error) == (ROWS, 0, 0.0)


def test_numbers_may_differ_within_the_tolerance() -> None:
    session = Bent(add("value", 3, 0.01))
    assert run_certificate(session, certificate(), Tolerance(atol=0.011)).passed
    result = run_certificate(session, certificate(), Tolerance(atol=0.009))
    assert result.failures == ("value differs by up to 0.01 from the recorded answers",)
    assert result.max_error == pytest.approx(0.01, rel=1e-4)


def test_choices_may_differ_on_ties_only() -> None:
    session = Bent(add("action", 5, 1))
    assert run_certificate(session, certificate(tie=[5]), EXACT).passed
    result = run_certificate(session, certificate(), EXACT)
    assert (result.flips, result.passed) == (1, False)
    assert "1 of 16 decisions differ" in result.failures[0]
    assert run_certificate(session, certificate(), Tolerance(atol=1e-6, flip_rate=1 / 16)).passed


def test_nan_where_a_number_was_recorded_fails() -> None:
    assert not run_certificate(
        Bent(add("distribution", 0, np.nan)), certificate(), Tolerance(atol=1e9)
    ).passed
    assert not run_certificate(
        Bent(add("distribution", 0, np.inf)), certificate(), Tolerance(atol=1e9)
    ).passed


def test_equal_infinities_agree() -> None:
    made = certificate()
    bend = add("distribution", 2, -np.inf)
    made.expected["distribution"][2] = -np.inf
    assert run_certificate(Bent(bend), made, EXACT).passed


def test_rows_that_depend_on_the_batch_fail() -> None:
    def whole_batch(answers: dict[str, Array], obs: Array) -> None:
        answers["value"] += np.float32(1e-9) * len(obs)
        answers["value"] *= np.float32(1 + 1e-6 * (len(obs) == 1))

    result = run_certificate(Bent(whole_batch), certificate(), Tolerance(atol=1.0))
    assert "value has other bits alone than in a batch" in result.failures


def test_rows_that_extreme_mates_spoil_fail() -> None:
    def poisoned(answers: dict[str, Array], obs: Array) -> None:
        if np.isnan(obs).any():
            answers["distribution"][:] = np.nan

    result = run_certificate(Bent(poisoned), certificate(), EXACT)
    assert result.failures == ("distribution has other bits beside extreme rows than in a batch",)


def test_certificates_round_trip(toy: Bundle) -> None:
    data = toy.read(CERTIFICATE_FILE)
    made = Certificate.unpack(data, "here")
    assert made.pack() == data
    session = PolicySession(
        toy.read("policy.onnx"), toy.manifest.contract, toy.manifest.contract_digest, "toy"
    )
    assert run_certificate(session, made, toy.manifest.variants["fp32"].tolerance).passed


@pytest.mark.parametrize("missing", ["expected/action", "input/obs"])
def test_a_certificate_that_lacks_rows_is_refused(missing: str) -> None:
    arrays = unpack(certificate().pack(), "here")
    del arrays[missing]
    with pytest.raises(BundleCorruptError, match="do not fit together"):
        Certificate.unpack(pack(arrays), "here")


def test_rows_of_different_number_are_refused() -> None:
    arrays = unpack(certificate().pack(), "here")
    arrays["expected/value"] = arrays["expected/value"][:-1]
    with pytest.raises(BundleCorruptError, match="do not fit together"):
        Certificate.unpack(pack(arrays), "here")


def test_a_certificate_without_ties_marked_is_refused() -> None:
    arrays = unpack(certificate().pack(), "here")
    del arrays["tie"]
    with pytest.raises(BundleCorruptError, match="does not mark ties"):
        Certificate.unpack(pack(arrays), "here")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("tie", np.zeros(ROWS)),
        ("tie", np.zeros((ROWS, 1), np.bool_)),
        ("surprise", np.zeros(ROWS)),
        ("input/scalar", np.float32(1)),
    ],
)
def test_arrays_of_other_forms_are_refused(name: str, array: Array) -> None:
    arrays = unpack(certificate().pack(), "here")
    with pytest.raises(BundleCorruptError):
        Certificate.unpack(pack({**arrays, name: array}), "here")


@pytest.mark.parametrize("rows", [0, 513])
def test_certificates_have_a_limited_number_of_rows_and_at_least_one(rows: int) -> None:
    arrays = unpack(certificate().pack(), "here")
    arrays = {name: np.resize(array, (rows, *array.shape[1:])) for name, array in arrays.items()}
    with pytest.raises(BundleCorruptError, match="1 to 512 of each"):
        Certificate.unpack(pack(arrays), "here")


def real(toy: Bundle) -> tuple[PolicySession, Certificate]:
    session = PolicySession(
        toy.read("policy.onnx"), toy.manifest.contract, toy.manifest.contract_digest, "toy"
    )
    return session, Certificate.unpack(toy.read(CERTIFICATE_FILE), "here")


@pytest.mark.parametrize(
    "inputs",
    [
        {"obs": np.zeros((8, 5), np.float32)},
        {"obs": np.zeros((8, 4), np.float64)},
        {"surprise": np.zeros((8, 4), np.float32)},
        {"noise": np.zeros((8,), np.float32)},
    ],
)
def test_inputs_that_do_not_fit_the_graph_are_corrupt(toy: Bundle, inputs: dict[str, Array]) -> None:
    session, made = real(toy)
    changed = Certificate({**made.inputs, **inputs}, made.expected, made.tie)
    with pytest.raises(BundleCorruptError, match="cannot be run on the certificate") as caught:
        run_certificate(session, changed, EXACT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "expected",
    [
        {"value": np.zeros((8, 1), np.float32)},
        {"distribution": np.zeros((8, 2), np.float32)},
        {"action": np.zeros(8, np.float32)},
        {"value": np.zeros(8, np.complex64)},
        {"surprise": np.zeros(8, np.float32)},
    ],
)
def test_answers_that_the_graph_never_gives_are_corrupt(toy: Bundle, expected: dict[str, Array]) -> None:
    session, made = real(toy)
    changed = Certificate(made.inputs, {**made.expected, **expected}, made.tie)
    with pytest.raises(BundleCorruptError):
        run_certificate(session, changed, EXACT)
