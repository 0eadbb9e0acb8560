"""Constraints that depend on the episode: what they remember, and where nothing is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction, DiscreteAction, MultiDiscreteAction
from steersman.safety.memory import Memory, MemoryLayout, unknown
from unit.safety.constraints.cases import compiled, policy

GEARS = policy(DiscreteAction(n=3, start=5, names=("reverse", "neutral", "drive")))
PUMPS = policy(MultiDiscreteAction(nvec=(2, 3), names=("pump", "valve")))
STEER = policy(BoxAction(shape=(2,), low=(-2.0, -2.0), high=(2.0, 2.0), names=("steer", "throttle")))
STILL = np.zeros((1, 3))


class Episode:
    """One episode, whose token travels as bytes, on a clock of its own."""

    def __init__(self, data, contract):
        self.constraints = compiled(data, contract)
        self.layout = MemoryLayout(self.constraints.fields())
        self.action, self.now = contract.action, 1000.0
        self.record, self.previous, self.last = b"", None, None

    def memory(self):
        cells, known = self.layout.unpack([self.record])
        if not known[0]:
            return unknown(1, self.action.shape, self.action.dtype, self.layout, self.now)
        return Memory(known, np.array([self.now]), np.array([self.now - self.last]), self.previous, cells)

    def bound(self):
        return self.constraints.bind(STILL, self.memory(), 1)

    def permits(self, action):
        return bool(self.bound().permits(np.array([action], self.action.dtype))[0])

    def step(self, action, after=0.0):
        memory = self.memory()
        self.previous, self.last = np.array([action], self.action.dtype), self.now
        self.constraints.update(memory, self.previous, np.ones(1, bool))
        self.record = self.layout.pack(memory.cells)[0]
        self.now += after


def test_a_choice_is_kept_for_so_long_and_then_it_may_change():
    episode = Episode([{"name": "d", "dwell": {"min_s": 2.0}}], GEARS)
    assert episode.bound().choices.all()
    episode.step(5, after=1.0)
    assert episode.bound().choices.tolist() == [[True, False, False]]
    assert (episode.permits(5), episode.permits(6)) == (True, False)
    assert episode.bound().margins(np.array([6])).tolist() == [[-1.0]]
    episode.step(5, after=1.0)
    assert episode.permits(6)
    episode.step(6, after=1.5)
    assert not episode.permits(5)


def test_where_the_first_choice_is_free_the_one_after_is_too():
    episode = Episode([{"name": "d", "dwell": {"min_s": 2.0, "start": "free"}}], GEARS)
    episode.step(5)
    assert episode.permits(6)
    episode.step(6)
    assert not episode.permits(5)


def test_a_choice_is_kept_for_so_many_decisions():
    episode = Episode([{"name": "d", "dwell": {"min_steps": 3}}], GEARS)
    for left in (-2, -1):
        episode.step(5)
        assert episode.bound().margins(np.array([7])).tolist() == [[left]]
    episode.step(5)
    assert episode.permits(7)


def test_an_assumed_choice_is_kept_first():
    episode = Episode([{"name": "d", "dwell": {"min_s": 2.0, "assumed": "neutral"}}], GEARS)
    assert episode.bound().choices.tolist() == [[False, True, False]]
    assert episode.constraints.bind(STILL, None, 1).choices.tolist() == [[False, True, False]]
    episode.step(6, after=1.0)
    assert not episode.permits(5)
    episode.step(6, after=1.0)
    assert episode.permits(5)


def test_dimensions_are_kept_each_for_itself():
    episode = Episode([{"name": "d", "dwell": {"min_s": 2.0, "dimensions": ["valve"]}}], PUMPS)
    episode.step([0, 2], after=1.0)
    assert episode.bound().choices.tolist() == [[True, True, False, False, True]]
    assert (episode.permits([1, 2]), episode.permits([0, 1])) == (True, False)


def test_a_budget_within_a_window_comes_back():
    few = {"name": "b", "budget": {"actions": ["drive"], "most": 2, "window_s": 10.0, "assumed_used": 0}}
    episode = Episode([few], GEARS)
    for left in (1, 0, -1):
        assert episode.bound().margins(np.array([7])).tolist() == [[left]]
        if left >= 0:
            episode.step(7, after=4.0)
    assert episode.bound().choices.tolist() == [[True, True, False]]
    assert not episode.permits(7)
    episode.step(5, after=2.0)
    assert episode.permits(7)  # the first use is ten seconds ago
    episode.step(7)
    assert not episode.permits(7)


def test_a_budget_of_an_episode_does_not_come_back():
    few = {"name": "b", "budget": {"actions": {"pump": [1], "valve": [2]}, "most": 2, "assumed_used": 1}}
    episode = Episode([few], PUMPS)
    episode.step([1, 2], after=1e6)
    assert episode.bound().choices.tolist() == [[True, False, True, True, False]]
    assert (episode.permits([0, 1]), episode.permits([0, 2])) == (True, False)


def test_what_is_not_known_of_an_episode_is_taken_as_declared_and_counted():
    data = [{"name": "b", "budget": {"actions": ["drive"], "most": 3, "window_s": 10.0}}]
    constraints = compiled(data, GEARS)
    bound = constraints.bind(np.zeros((3, 3)), None, 3)
    assert bound.assumed == 3
    assert not bound.permits(np.array([7, 7, 7])).any()
    layout = MemoryLayout(constraints.fields())
    memory = unknown(3, (), "int64", layout, 1000.0)
    memory.known[1] = True
    bound = constraints.bind(np.zeros((3, 3)), memory, 3)
    assert bound.assumed == 2
    assert bound.permits(np.array([7, 7, 7])).tolist() == [False, True, False]
    constraints.update(memory, np.array([7, 7, 5]), np.array([False, True, True]))
    uses = memory.cells["b.uses"].tolist()
    assert uses == [[1000.0] * 3, [0.0, 0.0, 1000.0], [1000.0] * 3]


def test_constraints_without_memory_assume_nothing():
    assert compiled([{"name": "f", "forbid": ["drive"]}], GEARS).bind(STILL, None, 1).assumed == 0


def test_the_rate_goes_from_the_declared_start_and_then_from_the_action_before():
    slew = {"name": "s", "rate": {"max_per_s": 2.0, "start": 1.0, "assumed_step_s": 0.5, "longest_s": 1.0}}
    episode = Episode([slew], STEER)
    assert (episode.permits([2.0, 0.0]), episode.permits([-0.25, 1.0])) == (True, False)
    episode.step([1.0, 1.0], after=0.25)
    assert (episode.permits([1.5, 0.5]), episode.permits([1.0, 0.25])) == (True, False)
    episode.now += 100.0  # counts as one second
    assert (episode.permits([-1.0, 1.0]), episode.permits([-1.25, 1.0])) == (True, False)
    actions, solved = episode.bound().shield(np.array([[-2.0, 1.0]], np.float32), np.arange(1))
    assert (actions.tolist(), solved.tolist()) == ([[-1.0, 1.0]], [True])


def test_a_rate_is_of_the_elements_that_are_named():
    slew = {"name": "s", "rate": {"max_per_s": {"steer": 1.0}, "start": 0.0, "assumed_step_s": 0.5}}
    bound = compiled([slew], STEER).bind(STILL, None, 1)
    assert bound.permits(np.array([[0.5, 2.0]], np.float32)).tolist() == [True]
    assert bound.shield(np.array([[2.0, 2.0]], np.float32), np.arange(1))[0].tolist() == [[0.5, 2.0]]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.lists(st.floats(-3, 3), min_size=2, max_size=2), st.floats(0, 2)), max_size=12))
def test_shielded_step_after_step_an_episode_never_changes_faster_than_allowed(steps):
    slew = {"name": "s", "rate": {"max_per_s": 1.5, "start": 0.0, "assumed_step_s": 0.1}}
    episode = Episode([slew, {"name": "b", "box": {"steer": {"low": -1.0, "high": 1.0}}}], STEER)
    before, elapsed = np.zeros(2), 0.1
    for wanted, pause in steps:
        actions, solved = episode.bound().shield(np.array([wanted], np.float32), np.arange(1))
        assert solved.all()
        assert (np.abs(actions[0].astype(float) - before) <= 1.5 * min(elapsed, 1.0)).all()
        episode.step(actions[0].tolist(), after=pause)
        before, elapsed = actions[0].astype(float), episode.now - episode.last


@pytest.mark.parametrize(("action", "line"), [
    (5, ""),
    (7, "constraint 'f' is violated by 1 (where speed > 1.0)"),
    (6, "constraint 'd' is violated by 1.5 s"),
])  # fmt: skip
def test_what_is_wrong_is_said_for_people(action, line):
    data = [
        {"name": "f", "forbid": ["drive"], "when": "speed > 1.0"},
        {"name": "d", "dwell": {"min_s": 2.0}},
    ]
    episode = Episode(data, GEARS)
    episode.step(5, after=0.5)
    bound = episode.constraints.bind(np.array([[2.0, 0, 0]]), episode.memory(), 1)
    assert episode.constraints.explain(0, bound, np.array([action])) == line


def test_what_cannot_be_read_is_said_to_be_so():
    power = [{"name": "p", "linear": [{"terms": {"steer": 1, "speed": 1}, "at_most": 1}]}]
    constraints = compiled(power, STEER)
    bound = constraints.bind(np.array([[np.nan, 0, 0]]), None, 1)
    assert "not finite" in constraints.explain(0, bound, np.zeros((1, 2), np.float32))


def test_a_condition_that_reads_nan_applies():
    constraints = compiled([{"name": "f", "forbid": ["drive"], "when": "speed > 1.0"}], GEARS)
    features = np.array([[0.0, np.nan, 0], [2.0, 0, 0], [np.nan, 0, 0], [-np.inf, 0, 0]])
    bound = constraints.bind(features, None, 4)
    assert bound.permits(np.full(4, 7)).tolist() == [True, False, False, False]
    assert constraints.bind(None, None, 1).permits(np.array([7])).tolist() == [False]


def test_no_rows_are_no_trouble():
    for contract, data in ((GEARS, {"dwell": {"min_s": 1}}), (STEER, {"box": {"low": 0.0}})):
        bound = compiled([{"name": "c"} | data], contract).bind(np.zeros((0, 3)), None, 0)
        actions = np.zeros((0, *contract.action.shape), contract.action.dtype)
        assert bound.violated(actions).shape == (0,)
        assert bound.shield(actions, np.arange(0))[0].shape == actions.shape
        assert bound.margins(actions).shape == (1, 0)
