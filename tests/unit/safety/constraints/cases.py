"""What the tests of this folder draw from: policies, constraints on them, rows, and what they want to do."""

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, MultiBinaryAction, MultiDiscreteAction
from steersman.bundle.validation import validated
from steersman.safety.constraints import Constraints, ConstraintSettings
from steersman.safety.errors import SafetyError
from steersman.safety.memory import Memory, MemoryLayout
from unit.safety.strategies import EXTREMES, contract_for, masks

FEATURES = ("speed", "tilt", "load")
CONDITIONS = ("speed > 1.0", "speed < -1.0", "tilt + load > 0.5", "!(load >= 0.0)", "speed * tilt < 2.0")
NOW = 1.7e9

number = st.integers(-12, 12).map(lambda found: found / 4)
box_spaces = st.builds(
    lambda shape, dtype: BoxAction(
        shape=shape, low=(-2.0,) * int(np.prod(shape)), high=(2.0,) * int(np.prod(shape)), dtype=dtype
    ),
    st.sampled_from([(1,), (2,), (3,), (2, 2), ()]),
    st.sampled_from(["float32", "float32", "float64", "float16", "int8"]),
)
choice_spaces = st.one_of(
    st.builds(DiscreteAction, n=st.integers(1, 5), start=st.integers(-3, 3)),
    st.builds(MultiDiscreteAction, nvec=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)),
    st.builds(MultiBinaryAction, n=st.integers(1, 3)),
)


def policy(action):
    """The contract of a policy with three features."""
    return contract_for(action, FEATURES)


def compiled(data, contract):
    """Constraints from plain data, as from YAML."""
    return Constraints.compile(
        [validated(ConstraintSettings, each, where="d.yaml") for each in data], contract
    )


@st.composite
def interval(draw):
    low, high = sorted((draw(number), draw(number)))
    sides = draw(st.sampled_from([("low", "high"), ("low", "high"), ("low",), ("high",)]))
    return {side: {"low": low, "high": high}[side] for side in sides}


@st.composite
def named_intervals(draw, size):
    names = draw(st.sets(st.sampled_from([f"action[{i}]" for i in range(size)]), min_size=1))
    return {name: draw(interval()) for name in sorted(names)}


@st.composite
def sums(draw, size):
    names = [f"action[{i}]" for i in range(size)]
    terms = {
        name: draw(number.filter(bool)) for name in sorted(draw(st.sets(st.sampled_from(names), min_size=1)))
    }
    terms |= {name: draw(number) for name in sorted(draw(st.sets(st.sampled_from(FEATURES), max_size=1)))}
    limit = draw(number)
    side = draw(st.sampled_from([{"at_most": limit}, {"at_least": limit}]))
    return {"terms": terms} | side


def box_kinds(size):
    """One constraint on a Box of so many elements, without its name."""
    rate = st.fixed_dictionaries({
        "max_per_s": st.integers(0, 8), "start": number, "assumed_step_s": st.sampled_from([0.05, 0.5])
    })  # fmt: skip
    return st.one_of(
        st.fixed_dictionaries({"box": named_intervals(size)}),
        st.fixed_dictionaries({"rate": rate}),
        st.fixed_dictionaries({"forbid_zone": named_intervals(size)}),
        st.fixed_dictionaries({"linear": st.lists(sums(size), min_size=1, max_size=2)}),
    )


@st.composite
def some_choices(draw, action):
    """A list of choices, or of choices by dimension; not all of any dimension."""
    if isinstance(action, DiscreteAction):
        return draw(st.lists(st.integers(action.start, action.start + action.n - 1), min_size=1, max_size=2))
    dimension = draw(st.integers(0, len(action.mask_segments) - 1))
    choices = st.integers(0, action.mask_segments[dimension] - 1)
    return {f"action[{dimension}]": draw(st.lists(choices, min_size=1, max_size=2))}


@st.composite
def choice_kinds(draw, action):
    kind = draw(st.sampled_from(["forbid", "dwell", "budget"]))
    if kind == "forbid":
        return {"forbid": draw(some_choices(action))}
    if kind == "budget":
        most = draw(st.integers(1, 3))
        window = draw(st.sampled_from([{}, {"window_s": 10.0}]))
        return {"budget": {"actions": draw(some_choices(action)), "most": most} | window}
    length = draw(st.sampled_from([{"min_s": 2.0}, {"min_steps": 3}]))
    return {"dwell": length | {"start": draw(st.sampled_from(["hold", "free"]))}}


@st.composite
def constraint_lists(draw, action):
    """Up to four named constraints, some with conditions."""
    size = action.size if isinstance(action, BoxAction) else 0
    kinds = draw(st.lists(box_kinds(size) if size else choice_kinds(action), min_size=1, max_size=4))
    extras = [{"when": draw(st.sampled_from(CONDITIONS))} if draw(st.booleans()) else {} for _ in kinds]
    thens = [draw(st.sampled_from(["shield", "shield", "shield", "fallback"])) for _ in kinds]
    return [
        {"name": f"c{i}", "then": then} | kind | extra
        for i, (kind, extra, then) in enumerate(zip(kinds, extras, thens, strict=True))
    ]


@dataclass
class Case:
    """Constraints, rows, and what is wanted on them."""

    data: list[dict[str, Any]]
    contract: Contract
    constraints: Constraints
    features: Any
    memory: Memory | None
    actions: Any
    mask: Any
    scores: Any

    @property
    def rows(self):
        return len(self.actions)

    @property
    def bound(self):
        return self.constraints.bind(self.features, self.memory, self.rows)

    def row(self, i):
        """The same with this row alone."""
        memory = None if self.memory is None else self.memory.take(np.array([i]))
        part = slice(i, i + 1)
        mask, scores = (None if each is None else each[part] for each in (self.mask, self.scores))
        return replace(
            self,
            features=self.features[part],
            memory=memory,
            actions=self.actions[part],
            mask=mask,
            scores=scores,
        )


def array_of(draw, values, shape, dtype):
    """Numbers drawn from a strategy."""
    count = int(np.prod(shape))
    with np.errstate(all="ignore"):
        return (
            np.array(draw(st.lists(values, min_size=count, max_size=count)), np.float64)
            .reshape(shape)
            .astype(dtype)
        )


def in_space(draw, rows, action):
    """Actions that there are."""
    shape = (rows, *action.shape)
    if isinstance(action, BoxAction):
        return array_of(draw, st.floats(-2, 2), shape, action.dtype)
    start = getattr(action, "start", 0)
    widths = np.broadcast_to(np.array(action.mask_segments).reshape(action.shape), shape)
    return (start + array_of(draw, st.integers(0, 11), shape, np.int64) % widths).astype(action.dtype)


def wanted(draw, rows, action):
    """What a model may want: mostly actions that there are, sometimes anything."""
    found = in_space(draw, rows, action)
    if isinstance(action, BoxAction):
        wild = array_of(draw, st.sampled_from(EXTREMES) | st.floats(-9, 9) | number, found.shape, np.float64)
        if not np.issubdtype(np.dtype(action.dtype), np.floating):
            wild = np.clip(np.nan_to_num(np.rint(wild)), -100, 100)
        with np.errstate(all="ignore"):
            wild = wild.astype(action.dtype)
        return np.where(array_of(draw, st.booleans(), found.shape, bool), wild, found)
    wild = array_of(draw, st.integers(-6, 9), found.shape, action.dtype)
    return np.where(array_of(draw, st.sampled_from([True, False, False]), found.shape, bool), wild, found)


def some_memory(draw, rows, constraints, action):
    """What is remembered of rows, some of them unknown."""
    layout = MemoryLayout(constraints.fields())
    known = array_of(draw, st.sampled_from([True, True, False]), (rows,), bool)
    elapsed = array_of(draw, st.sampled_from([0.0, 0.01, 0.1, 1.0, 5.0, 1e9]), (rows,), np.float64)
    cells = layout.blank(rows)
    for name in layout.dtype.names or ():
        field = cells[name]
        if name.endswith("since") or (field.ndim == 2 and name.endswith("uses")):
            ago = array_of(
                draw, st.sampled_from([0.0, 1.0, 2.0, 9.0, 11.0, NOW, -1.0]), field.shape, np.float64
            )
            field[...] = NOW - ago
        else:
            field[...] = array_of(draw, st.integers(0, 4), field.shape, np.int64)
        field[~known] = 0
    previous = in_space(draw, rows, action)
    previous[~known] = 0
    return Memory(known, np.full(rows, NOW), np.where(known, elapsed, np.nan), previous, cells)


@st.composite
def cases(draw, spaces=box_spaces | choice_spaces, lists=constraint_lists, wild=True):
    """Rows with constraints, whatever they are."""
    action = draw(spaces)
    data = draw(lists(action))
    contract = policy(action)
    constraints = compiled_or_none(data, contract)
    if constraints is None:
        data = []
        constraints = compiled(data, contract)
    rows, width = draw(st.integers(1, 4)), sum(action.mask_segments)
    feature = (st.sampled_from(EXTREMES) | number) if wild else number
    return Case(
        data=data,
        contract=contract,
        constraints=constraints,
        features=array_of(draw, feature, (rows, len(FEATURES)), np.float64),
        memory=some_memory(draw, rows, constraints, action) if draw(st.booleans()) else None,
        actions=wanted(draw, rows, action),
        mask=draw(st.none() | masks(rows, width)) if width else None,
        scores=array_of(draw, st.sampled_from(EXTREMES) | number, (rows, width), np.float32)
        if width and draw(st.booleans()) else None,
    )  # fmt: skip


def compiled_or_none(data, contract):
    """None for constraints that are refused because they leave no action."""
    with contextlib.suppress(SafetyError):
        return compiled(data, contract)
    return None
