"""Members of a fallback chain that are code, or another version."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction, DiscreteAction, MultiDiscreteAction
from steersman.bundle.validation import SettingsError, validated
from steersman.safety.asking import Asked, Offer, exist, read_offer
from steersman.safety.entry_points import EntryPointMember, EntryPoints
from steersman.safety.errors import SafetyError
from steersman.safety.fallback import FallbackChain, FallbackSettings, require_end
from steersman.safety.members import Aids
from unit.safety.strategies import CART, EXTREMES, all_actions, contract_for, quick

NAME = f"{__name__}:drive"
BOX = contract_for(BoxAction(shape=(2,), low=(-1.0, 0.0), high=(1.0, 2.0)))


def drive(features):
    """Pushes the way the pole leans; does not answer where it cannot read the angle."""
    return (features[:, 2] > 0).astype(int), np.isfinite(features[:, 2])


NOT_CALLABLE = 3


def settings_of(*members):
    return validated(FallbackSettings, list(members), where="d.yaml")


def told():
    failures = []
    return failures, failures.append


def chain_of(*members, contract=CART, **aids):
    return FallbackChain.compile(settings_of(*members), contract, aids=Aids(**aids))


def member_of(function, *, timeout_s=5.0, action=CART.action):
    failures, tell = told()
    return EntryPointMember(function, action, "m", timeout_s, tell), failures


def offered(member, rows=2):
    return list(member.offers(Asked(rows, np.zeros((rows, 4)))))


def test_a_function_answers_where_it_says_so_and_the_chain_goes_on():
    chain = chain_of({"entry_point": NAME}, {"constant": 1}, entry_points=EntryPoints([NAME]))
    features = np.array([[0, 0, 1.0, 0], [0, 0, -1.0, 0], [0, 0, np.nan, 0]])
    answer = chain.answer(3, features=features)
    assert answer.actions.tolist() == [1, 0, 1]
    assert [answer.names[i] for i in answer.members] == ["entry_point", "entry_point", "constant"]


def test_only_rows_that_need_an_answer_are_shown_to_a_function():
    seen = []

    def watch(features):
        seen.append(features.copy())
        features[:] = 0  # its own copy
        return np.zeros(len(features), int), np.ones(len(features), bool)

    member, _ = member_of(watch)
    rules = chain_of({"rules": [{"when": "pole_angle > 0.0", "then": 1}]})
    chain = FallbackChain([*rules._members, member], ("rules", "m"), CART.action)
    features = np.array([[0, 0, 1.0, 0], [0, 0, -1.0, 0]])
    assert chain.answer(2, features=features).actions.tolist() == [1, 0]
    assert [rows.tolist() for rows in seen] == [[[0, 0, -1, 0]]]
    assert features[1].tolist() == [0, 0, -1, 0]


def raises(features):
    raise RuntimeError(f"no rows today, {len(features)}")


def exits(features):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "kind", "detail"),
    [
        (raises, "raised", "no rows today, 2"),
        (exits, "raised", "SystemExit"),
        (lambda f: None, "malformed", "NoneType"),
        (lambda f: (f, f, f), "malformed", "unpack"),
        (lambda f: (np.zeros(3, int), np.ones(3, bool)), "malformed", "shapes (3,) and (3,); expected"),
        (lambda f: (np.zeros(2), np.ones(2, bool)), "malformed", "float64"),
        (lambda f: (np.zeros(2, int), np.ones(2)), "malformed", "expected int64 and bool"),
        (lambda f: ([[], [1]], [True, True]), "malformed", ""),
        (lambda f: (["left", "right"], [True, True]), "malformed", "expected int64"),
    ],
)
def test_what_goes_wrong_in_a_function_is_told_and_is_no_answer(function, kind, detail):
    member, failures = member_of(function)
    assert offered(member) == []
    assert [(f.member, f.kind) for f in failures] == [("m", kind)]
    assert detail in failures[0].detail


def test_a_late_function_is_not_asked_again_until_it_has_ended():
    go, begun = threading.Event(), threading.Event()

    def slow(features):
        begun.set()
        go.wait(10)
        return np.zeros(len(features), int), np.ones(len(features), bool)

    member, failures = member_of(slow, timeout_s=0.001)
    assert offered(member) == []
    assert begun.wait(10)
    assert offered(member) == []
    assert [f.kind for f in failures] == ["late", "busy"]
    go.set()
    patient = EntryPointMember(drive, CART.action, "m", 5.0, failures.append)
    assert len(offered(patient)) == 1
    member._timeout_s = 5.0
    last = member._caller._last
    assert last.done.wait(10)
    assert len(offered(member)) == 1


def test_actions_that_are_not_in_the_space_are_no_answers():
    given = np.array([0, 1, 2, -1]), np.ones(4, bool)
    assert read_offer(given, 4, CART.action).answered.tolist() == [True, True, False, False]
    actions = np.array([[0.5, 1], [1.5, 1], [np.nan, 1], [np.inf, 1], [1e300, 1]])
    found = read_offer((actions, np.ones(5, bool)), 5, BOX.action)
    assert found.answered.tolist() == [True, False, False, False, False]
    assert found.actions.dtype == np.float32
    small = MultiDiscreteAction(nvec=(2, 2), dtype="int8")
    wraps = np.array([[256, 0], [1, 1]]), np.ones(2, bool)
    assert read_offer(wraps, 2, small).answered.tolist() == [False, True]


@quick
@given(all_actions, st.data())
def test_no_offer_is_outside_the_action_space(action, data):
    size = int(np.prod(action.shape))
    kinds = st.sampled_from(EXTREMES) if isinstance(action, BoxAction) else st.integers(-300, 300)
    values = np.array(data.draw(st.lists(kinds, min_size=3 * size, max_size=3 * size))).reshape(
        3, *action.shape
    )
    offer = read_offer((values, np.ones(3, bool)), 3, action)
    assert exist(offer.actions[offer.answered], action).all()
    assert offer.actions.dtype == np.dtype(action.dtype)
    if not isinstance(action, BoxAction):
        assert (offer.actions[offer.answered] == values[offer.answered]).all()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.b:c", "fallback[0].entry_point: the server does not allow the entry point 'a.b:c'. Start"),
        (NAME.replace("drive", "driv"), "Did you mean"),
    ],
)  # fmt: skip
def test_only_functions_that_the_server_allows(name, line):
    with pytest.raises(SafetyError) as error:
        chain_of({"entry_point": name}, entry_points=EntryPoints([NAME]))
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no_such_module:drive", "cannot be imported: No module named 'no_such_module'"),
        (f"{__name__}:nothing", "cannot be imported"),
        (f"{__name__}:NOT_CALLABLE", "is a int; expected a function"),
    ],
)
def test_functions_that_are_not_there_are_refused_at_load(name, line):
    with pytest.raises(SafetyError) as error:
        chain_of({"entry_point": name}, entry_points=EntryPoints([name]))
    assert line in str(error.value)


def test_a_supervisor_checks_names_and_imports_nothing():
    points = EntryPoints(["no_such_module:drive"], imports=False)
    failures, tell = told()
    chain = chain_of({"entry_point": "no_such_module:drive"}, entry_points=points, tell=tell)
    assert not chain.answer(1, features=np.zeros((1, 4))).answered.any()
    assert failures[0].kind == "raised"


def test_names_of_entry_points_have_a_form():
    with pytest.raises(SafetyError, match="'drive' is not an entry point"):
        EntryPoints(["drive"])
    with pytest.raises(SettingsError, match=r"\[0\]\.entry_point"):
        settings_of({"entry_point": "os.system('x')"})
    with pytest.raises(SettingsError, match="timeout_ms is for entry_point, not for constant"):
        settings_of({"constant": 1, "timeout_ms": 3})


def test_images_have_no_entry_points():
    many = contract_for(DiscreteAction(n=2), tuple(f"f{i}" for i in range(65)))
    with pytest.raises(SafetyError, match=r"the policy has 65 features; expected 1 to 64 for an entry point"):
        chain_of({"entry_point": NAME}, contract=many, entry_points=EntryPoints([NAME]))


class Earlier:
    """A version that answers 1 where the first observation is positive."""

    def __init__(self):
        self.asked = []

    def answer(self, asked):
        self.asked.append(asked)
        values = asked.observations["obs"][:, 0]
        if (values > 100).any():
            raise RuntimeError("too large")
        return Offer((values > 0).astype(np.int64), np.ones(asked.rows, bool))


def test_the_last_good_version_answers_rows_that_are_fit_to_be_shown():
    earlier = Earlier()
    chain = chain_of({"last_good_version": True}, {"constant": 0}, oracle=lambda: earlier)
    observations = {"obs": np.array([[1.0], [-1.0], [np.nan], [2.0]], np.float32)}
    fit = np.array([True, True, False, True])
    answer = chain.answer(4, observations=observations, fit=fit)
    assert answer.actions.tolist() == [1, 0, 0, 1]
    assert [answer.names[i] for i in answer.members] == ["last_good_version"] * 2 + [
        "constant",
        "last_good_version",
    ]
    assert earlier.asked[0].rows == 3
    assert earlier.asked[0].fit.all()


@pytest.mark.parametrize("oracle", [lambda: None, lambda: SILENT])
def test_without_a_last_good_version_the_chain_goes_on(oracle):
    chain = chain_of({"last_good_version": True}, {"constant": 0}, oracle=oracle)
    assert chain.answer(1, observations={"obs": np.zeros((1, 1))}).members.tolist() == [1]
    assert chain.answer(1).members.tolist() == [1]


class Silent:
    """A version that has no answer."""

    def answer(self, asked):
        return None


SILENT = Silent()


def test_a_version_that_fails_is_told_and_the_chain_goes_on():
    failures, tell = told()
    chain = chain_of({"last_good_version": True}, {"constant": 0}, oracle=Earlier, tell=tell)
    assert chain.answer(1, observations={"obs": np.full((1, 1), 1e3)}).members.tolist() == [1]
    assert (failures[0].member, failures[0].kind) == ("fallback[0].last_good_version", "raised")


@pytest.mark.parametrize("last", ["rules", "entry_point", "last_good_version"])
def test_a_chain_needs_an_end(last):
    value = {
        "rules": [{"when": "pole_angle > 0.0", "then": 1}],
        "entry_point": NAME,
        "last_good_version": True,
    }
    settings = settings_of({"constant": 1}, {last: value[last]})
    with pytest.raises(SafetyError) as error:
        require_end(settings, excused=False)
    assert str(error.value).startswith(
        f"fallback[1]: the chain ends in {last}, which may have no answer; expected"
    )
    require_end(settings, excused=True)


def test_chains_that_end_in_constants_or_have_no_members_need_nothing():
    for members in ([], [{"constant": 0}], [{"last_good_version": True}, {"preference": [0]}]):
        require_end(settings_of(*members), excused=False)
