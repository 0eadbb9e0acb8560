from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from tools.export_coverage.covering import Choice, Column, Covering, occurring

FACTORS = {"a": ("1", "2", "3"), "b": ("1", "2", "3", "4"), "c": ("x", "y"), "d": ("p", "q", "r")}
COLUMNS = tuple(Column(name, name) for name in FACTORS)
PAIRS = tuple((one, other) for i, one in enumerate(COLUMNS) for other in COLUMNS[i + 1 :])


def forbid(*pairs: tuple[str, str, str, str]) -> Callable[[Choice], bool]:
    return lambda choice: not any(choice.get(f) == v and choice.get(g) == w for f, v, g, w in pairs)


def anything(choice: Choice) -> bool:
    return True


forbidden = st.lists(
    st.sampled_from([(f, v, g, w) for f in "ab" for g in "cd" for v in FACTORS[f] for w in FACTORS[g]]),
    max_size=8,
)


@given(forbidden)
@settings(max_examples=40, deadline=None)
def test_every_possible_pair_occurs_in_an_allowed_cell(pairs: list[tuple[str, str, str, str]]) -> None:
    allowed = forbid(*pairs)
    covering = Covering(FACTORS, allowed)
    cells = covering.cover(PAIRS)
    assert all(allowed(cell) and list(cell) == list(FACTORS) for cell in cells)
    seen = {target for cell in cells for target in occurring(cell, PAIRS)}
    possible = {
        target
        for a in FACTORS["a"]
        for b in FACTORS["b"]
        for c in FACTORS["c"]
        for d in FACTORS["d"]
        if allowed(choice := {"a": a, "b": b, "c": c, "d": d})
        for target in occurring(choice, PAIRS)
    }
    assert seen == possible


def test_it_is_far_smaller_than_the_product_and_never_below_the_largest_demand() -> None:
    cells = Covering(FACTORS, anything).cover(PAIRS)
    assert 12 <= len(cells) <= 16


def test_what_is_given_counts() -> None:
    given = Covering(FACTORS, anything).cover(PAIRS)
    assert Covering(FACTORS, anything).cover(PAIRS, given) == []


def test_the_same_seed_gives_the_same_cells() -> None:
    one, other = (Covering(FACTORS, anything, seed=5).cover(PAIRS) for _ in range(2))
    assert one == other


def test_a_column_may_look_at_groups_of_values() -> None:
    coarse = Column("size of b", "b", lambda value: "small" if value < "3" else "large")
    cells = Covering(FACTORS, anything).cover([(coarse, COLUMNS[2])])
    assert {target for cell in cells for target in occurring(cell, [(coarse, COLUMNS[2])])} == {
        (("size of b", size), ("c", c)) for size in ("small", "large") for c in "xy"
    }
    assert len(cells) == 4
