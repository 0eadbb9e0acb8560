from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.monitoring.blocks import (
    LATENCY_EDGES,
    MARGIN_CELLS,
    PHASES,
    Allocator,
    BlockSpec,
    BlockView,
    PlacedBlock,
)
from steersman.monitoring.errors import CountersFullError


def some_spec(version=1, lane="stable", **more):
    return BlockSpec(
        policy="p", version=version, lane=lane, sources=("none", "policy"), reasons=("",), **more
    )


SPECS = st.builds(
    some_spec,
    version=st.integers(1, 4),
    lane=st.sampled_from(["stable", "canary"]),
    modes=st.sampled_from([(), ("greedy",), ("greedy", "sampled")]),
    features=st.sampled_from([(), ("x", "y")]),
    dimensions=st.sampled_from([(), (("a", ("0", "1", "2")), ("b", ("0", "1")))]),
    constraints=st.sampled_from([(), ("torque",), ("torque", "slew")]),
    members=st.sampled_from([(), ("rules", "constant")]),
)


@given(st.lists(SPECS))
def test_blocks_never_overlap_and_the_same_spec_has_the_same_place(specs):
    allocator = Allocator(first=20, capacity=100_000)
    placed = [allocator.place(spec) for spec in specs]
    assert placed == [allocator.place(spec) for spec in specs]
    ends = 20
    for block in allocator.placed:
        assert block.offset == ends
        ends += block.spec.cells
    assert {block.spec for block in allocator.placed} == set(specs)


def test_a_full_slot_says_so_and_keeps_what_it_has():
    first = some_spec()
    allocator = Allocator(first=0, capacity=first.cells + 1)
    allocator.place(first)
    with pytest.raises(
        CountersFullError, match=r"no room for the \d+ counters of p/2 in lane stable.*Restart"
    ):
        allocator.place(some_spec(version=2))
    assert allocator.place(first).offset == 0


@given(SPECS)
def test_views_cover_the_block_and_write_through(spec):
    cells = np.zeros(spec.cells + 10, np.int64)
    view = BlockView.of(cells, PlacedBlock(spec=spec, offset=4))
    for name, shape in spec.shapes().items():
        array = getattr(view, name)
        assert array.shape == shape
        array += 1
    assert cells[4:-6].tolist() == [1] * spec.cells
    assert cells.sum() == spec.cells


@given(SPECS)
def test_a_placed_block_travels_as_json(spec):
    placed = PlacedBlock(spec=spec, offset=7)
    assert PlacedBlock.model_validate_json(placed.model_dump_json()) == placed


def test_latency_edges_are_the_ones_that_slos_are_stated_on():
    assert list(LATENCY_EDGES) == sorted(set(LATENCY_EDGES))
    assert (LATENCY_EDGES[0], LATENCY_EDGES[-1]) == (50e-6, 1.0)
    assert some_spec().shapes()["latency"] == (len(PHASES), len(LATENCY_EDGES) + 1)


OLDEST_ARRAYS = (
    *("sources", "fallback_reasons", "error_reasons", "assignments", "shadow", "modes", "episodes"),
    *("latency", "latency_ns", "observation_cells", "action_cells"),
)


def test_a_snapshot_from_before_constraints_were_counted_is_read():
    old = {
        "spec": {"policy": "p", "version": 1, "lane": "a", "sources": ["none"], "reasons": [""]},
        "offset": 7,
    }
    spec = PlacedBlock.model_validate(old).spec
    assert (spec.constraints, spec.members) == ((), ())
    assert spec.shapes()["margins"] == (0, MARGIN_CELLS)


@given(SPECS)
def test_what_came_later_lies_behind_what_was_there(spec):
    assert tuple(spec.shapes())[: len(OLDEST_ARRAYS)] == OLDEST_ARRAYS
