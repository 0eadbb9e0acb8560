import numpy as np
from hypothesis import given, settings

from unit.safety.constraints import oracle
from unit.safety.constraints.cases import box_spaces, cases, choice_spaces
from unit.safety.strategies import is_permitted

thorough = settings(deadline=None, max_examples=120)


def same(left, right):
    return np.array_equal(left, right, equal_nan=np.asarray(left).dtype.kind == "f")


@thorough
@given(cases())
def test_what_is_violated_is_what_the_plain_definition_says(case):
    violated = case.bound.violated(case.actions)
    for i in range(case.rows):
        exists = oracle.exists(case.actions[i], case.contract.action)
        if (
            exists or not case.contract.mask_width
        ):  # of choices that there are not, constraints may say anything
            plain = [k for k, each in enumerate(case.data) if oracle.violates(each, case, i, case.actions[i])]
            assert violated[i] == (plain[0] if plain else -1)


@thorough
@given(cases())
def test_a_solved_action_keeps_constraints_and_mask_and_is_in_the_space(case):
    rows = np.arange(case.rows)
    actions, solved = case.bound.shield(case.actions, rows, case.mask, case.scores)
    assert actions.dtype == case.actions.dtype
    assert actions.shape == case.actions.shape
    permitted = case.bound.permits(actions)
    for i in rows[solved]:
        mask = None if case.mask is None else case.mask[i]
        assert permitted[i]
        assert oracle.exists(actions[i], case.contract.action)
        assert is_permitted(mask, actions[i], case.contract.action)
        assert not any(oracle.violates(each, case, i, actions[i]) for each in case.data)
    assert same(actions[~solved], case.actions[~solved])


@thorough
@given(cases())
def test_a_permitted_action_is_never_changed_and_a_fallback_constraint_is_never_shielded(case):
    actions, solved = case.bound.shield(case.actions, np.arange(case.rows), case.mask, case.scores)
    for i in range(case.rows):
        mask, spec = None if case.mask is None else case.mask[i], case.contract.action
        if not oracle.exists(case.actions[i], spec) or not is_permitted(mask, case.actions[i], spec):
            continue
        violated = [each for each in case.data if oracle.violates(each, case, i, case.actions[i])]
        if not violated:
            assert solved[i]
            assert same(actions[i], case.actions[i])
        if any(each["then"] == "fallback" for each in violated):
            assert not solved[i]


@thorough
@given(cases())
def test_a_row_does_not_depend_on_other_rows(case):
    together = case.bound
    actions, solved = together.shield(case.actions, np.arange(case.rows), case.mask, case.scores)
    violated, margins = together.violated(case.actions), together.margins(case.actions)
    for i in range(case.rows):
        alone = case.row(i)
        action, answered = alone.bound.shield(alone.actions, np.arange(1), alone.mask, alone.scores)
        assert same(action[0], actions[i])
        assert answered[0] == solved[i]
        assert alone.bound.violated(alone.actions)[0] == violated[i]
        assert same(alone.bound.margins(alone.actions)[:, 0], margins[:, i])


@thorough
@given(cases())
def test_margins_say_what_is_violated(case):
    margins, violated = case.bound.margins(case.actions), case.bound.violated(case.actions)
    assert margins.shape == (len(case.data), case.rows)
    for i in range(case.rows):
        negative = np.flatnonzero(margins[:, i] < 0)
        assert violated[i] == (negative[0] if len(negative) else -1)


@thorough
@given(cases())
def test_some_rows_of_the_bound_are_those_rows(case):
    rows = np.flatnonzero(np.arange(case.rows) % 2 == 0)
    part = case.bound.take(rows)
    assert part.violated(case.actions[rows]).tolist() == case.bound.violated(case.actions)[rows].tolist()
    some, solved = case.bound.shield(case.actions, rows, case.mask, case.scores)
    every, all_solved = case.bound.shield(case.actions, np.arange(case.rows), case.mask, case.scores)
    assert same(some, every[rows])
    assert solved.tolist() == all_solved[rows].tolist()


@thorough
@given(cases(spaces=choice_spaces))
def test_choices_allowed_are_exactly_those_that_violate_nothing(case):
    allowed = case.bound.choices
    if allowed is None:
        assert not case.data
        return
    segments = case.contract.action.mask_segments
    start = getattr(case.contract.action, "start", 0)
    for i in range(case.rows):
        permitted = [np.flatnonzero(part) for part in np.split(allowed[i], np.cumsum(segments)[:-1])]
        if any(not len(part) for part in permitted):
            continue
        rng = np.random.default_rng(0)
        for _ in range(4):
            action = np.array([rng.choice(part) for part in permitted]) + start
            action = action.reshape(case.contract.action.shape).astype(case.actions.dtype)
            assert not any(oracle.violates(each, case, i, action) for each in case.data)


@thorough
@given(cases(spaces=choice_spaces, wild=False))
def test_the_choice_in_its_place_is_the_one_that_the_policy_thinks_most_of(case):
    if case.scores is None or not case.data:
        return
    actions, solved = case.bound.shield(case.actions, np.arange(case.rows), case.mask, case.scores)
    allowed = case.bound.choices & (True if case.mask is None else case.mask)
    first, start = 0, getattr(case.contract.action, "start", 0)
    for d, width in enumerate(case.contract.action.mask_segments):
        chosen = actions.reshape(case.rows, -1)[:, d].astype(int) - start
        wanted = case.actions.reshape(case.rows, -1)[:, d].astype(int) - start
        for i in np.flatnonzero(solved & (chosen != wanted)):
            scores = case.scores[i, first : first + width][allowed[i, first : first + width]]
            assert case.scores[i, first + chosen[i]] == np.nanmax(scores)
        first += width


@thorough
@given(cases(spaces=box_spaces))
def test_an_action_that_is_not_a_number_is_never_solved_where_it_is_constrained(case):
    actions, solved = case.bound.shield(case.actions, np.arange(case.rows))
    assert np.isfinite(actions[solved]).all()
