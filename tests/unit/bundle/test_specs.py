"""Specs and their digest: the same content always has the same bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from steersman.bundle.digest import canonical_json, contract_digest
from steersman.bundle.specs import (
    ActionSpec,
    BoxAction,
    Contract,
    DiscreteAction,
    MultiBinaryAction,
    MultiDiscreteAction,
    ObservationSpec,
    StateSpec,
    bounds,
    feature_names,
    specs_difference,
)
from support.toy_bundle import box_contract, discrete_contract

number = st.floats(allow_nan=False)


@given(st.lists(st.tuples(number, number), min_size=1, max_size=5), st.text(max_size=5))
def test_contracts_round_trip_through_json(pairs: list[tuple[float, float]], name: str) -> None:
    low, high = zip(*pairs, strict=True)
    observation = ObservationSpec(key=name, dtype="float64", shape=(len(pairs),), low=low, high=high)
    contract = discrete_contract().model_copy(update={"observations": (observation,)})
    again = Contract.model_validate_json(canonical_json(contract))
    assert again == contract
    assert contract_digest(again) == contract_digest(contract)


def test_the_digest_is_of_content_and_not_of_order() -> None:
    contract = discrete_contract()
    data = json.loads(contract.model_dump_json())
    backwards = json.dumps(dict(reversed(data.items())))
    assert contract_digest(Contract.model_validate_json(backwards)) == contract_digest(contract)
    assert contract_digest(discrete_contract(start=1)) != contract_digest(contract)
    assert contract_digest(box_contract()) != contract_digest(contract)


class WiderObservation(ObservationSpec):
    quality: float = 1.0


class WiderDiscrete(DiscreteAction):
    groups: tuple[int, ...] = ()


class WiderContract(Contract):
    """What a later release may make of the contract."""

    observations: tuple[WiderObservation, ...]
    action: WiderDiscrete | BoxAction = Field(discriminator="kind")
    horizon: int | None = None


@pytest.mark.parametrize("contract", [discrete_contract(), discrete_contract(start=2), box_contract()])
def test_fields_that_a_later_release_adds_do_not_change_the_digest(contract: Contract) -> None:
    wider = WiderContract.model_validate_json(contract.model_dump_json())
    assert contract_digest(wider) == contract_digest(contract)
    used = wider.model_copy(update={"horizon": 3})
    assert contract_digest(used) != contract_digest(contract)


def test_the_kind_of_action_is_part_of_the_digest() -> None:
    alike: list[ActionSpec] = [MultiBinaryAction(n=3, dtype="int64"), DiscreteAction(n=3)]
    contracts = [discrete_contract().model_copy(update={"action": action}) for action in alike]
    assert contract_digest(contracts[0]) != contract_digest(contracts[1])
    assert len({contract_digest(box_contract()), *map(contract_digest, contracts)}) == 3


@pytest.mark.parametrize(
    ("distribution", "outputs", "missing"),
    [
        ("categorical", ("action",), "distribution"),
        ("gaussian", ("value",), "action, distribution"),
        ("q_values", ("distribution",), "action"),
        ("deterministic", ("distribution",), "action"),
        ("deterministic", ("action",), None),
    ],
)
def test_contracts_need_the_outputs_that_are_always_asked_for(
    distribution: str, outputs: tuple[str, ...], missing: str | None
) -> None:
    data = {**discrete_contract().model_dump(), "distribution": distribution, "outputs": outputs}
    if missing is None:
        assert Contract.model_validate(data).outputs == outputs
        return
    with pytest.raises(ValidationError, match=f"outputs lack {missing}$|outputs lack {missing} "):
        Contract.model_validate(data)


def test_canonical_json_is_compact_sorted_and_holds_no_bare_infinity() -> None:
    spec = ObservationSpec(dtype="float32", shape=(2,), low=(-math.inf, 0.5), high=(math.inf,))
    text = canonical_json(spec).decode()
    assert text.startswith('{"dtype":"float32","feature_names":[],"high":["Infinity"]')
    assert json.loads(text, parse_constant=pytest.fail)["low"] == ["-Infinity", 0.5]


@pytest.mark.parametrize(
    "values",
    [
        {"dtype": "float128"},
        {"shape": (-1,)},
        {"low": (0.0, 0.0)},
        {"high": ()},
        {"feature_names": ("a",)},
        {"units": ("m", "m", "m", "m")},
        {"surprise": 1},
    ],
)
def test_observations_that_do_not_fit_together_are_refused(values: dict[str, Any]) -> None:
    fitting = {"dtype": "float32", "shape": (3,), "low": (0.0,), "high": (1.0, 2.0, 3.0)}
    ObservationSpec.model_validate(fitting)
    with pytest.raises(ValidationError):
        ObservationSpec.model_validate({**fitting, **values})


@pytest.mark.parametrize(
    ("action", "shape", "segments"),
    [
        (DiscreteAction(n=4, start=-1), (), (4,)),
        (MultiDiscreteAction(nvec=(2, 3)), (2,), (2, 3)),
        (MultiBinaryAction(n=3), (3,), (2, 2, 2)),
        (BoxAction(shape=(2, 2), low=(0,) * 4, high=(1,) * 4), (2, 2), ()),
    ],
)
def test_actions_know_their_shape_and_mask(action: Any, shape: Any, segments: Any) -> None:
    contract = discrete_contract().model_copy(update={"action": action})
    assert (action.shape, action.mask_segments) == (shape, segments)
    assert contract.mask_width == sum(segments)
    assert Contract.model_validate_json(contract.model_dump_json()).action == action


def test_one_bound_stands_for_all() -> None:
    spec = ObservationSpec(dtype="float32", shape=(2, 2), low=(-1.0,), high=(1.0, 2.0, 3.0, 4.0))
    low, high = bounds(spec)
    assert np.array_equal(low, np.full((2, 2), -1.0))
    assert np.array_equal(high, [[1, 2], [3, 4]])
    with pytest.raises(ValidationError, match="2 entries each"):
        BoxAction(shape=(2,), low=(0.0,), high=(1.0, 1.0))


def test_names_are_made_up_where_none_are_declared() -> None:
    named = ObservationSpec(dtype="float32", shape=(2,), low=(0,), high=(1,), feature_names=("x", "y"))
    keyed = ObservationSpec(key="lidar", dtype="float32", shape=(2,), low=(0,), high=(1,))
    contract = discrete_contract().model_copy(update={"observations": (named, keyed)})
    assert feature_names(contract) == ("x", "y", "lidar_0", "lidar_1")
    assert (named.input_name, keyed.input_name) == ("obs", "obs/lidar")


def test_modes_follow_from_the_outputs() -> None:
    assert discrete_contract().modes == ("greedy", "sampled")
    greedy_only = discrete_contract().model_copy(update={"outputs": ("action",)})
    assert greedy_only.modes == ("greedy",)


OUTPUTS = ("action", "distribution")


def _acting(**observation: object) -> Contract:
    spec = ObservationSpec.model_validate(
        {"dtype": "float32", "shape": (2,), "low": (-1,), "high": (1,), **observation}
    )
    return Contract(
        observations=(spec,), action=DiscreteAction(n=2), distribution="categorical", outputs=OUTPUTS
    )


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (_acting(), None),
        (_acting(feature_names=("left", "right")), None),
        (_acting(shape=(3,)), "observation obs: shape (2,) and (3,)"),
        (_acting(dtype="float64"), "observation obs: dtype float32 and float64"),
        (_acting(high=(2,)), "observation obs: high (1.0,) and (2.0,)"),
        (_acting(key="pose"), "observations [''] and ['pose']"),
        (_acting().model_copy(update={"action": DiscreteAction(n=3)}), "action: n 2 and 3"),
        (
            _acting().model_copy(update={"action": MultiBinaryAction(n=2)}),
            "action: kind discrete and multi_binary",
        ),
        (_acting().model_copy(update={"state": (StateSpec(name="h", shape=(4,)),)}), None),
    ],
)
def test_what_callers_could_notice_is_a_difference(other: Contract, difference: str | None) -> None:
    assert specs_difference(_acting(), other) == difference


def test_names_differ_where_both_are_given() -> None:
    one, other = _acting(feature_names=("a", "b")), _acting(feature_names=("a", "c"))
    assert specs_difference(one, other) == "observation obs: feature_names ('a', 'b') and ('a', 'c')"
