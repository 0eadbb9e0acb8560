from __future__ import annotations

import mmap
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.monitoring.blocks import BlockSpec
from steersman.monitoring.counters import LAYOUT_VERSION, MAGIC, Layout, Segment, Slot, read_layout
from steersman.monitoring.errors import MonitoringError

ADDITIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 1), st.integers(0, 2), st.integers(0, 50)),
        st.tuples(st.just("restart"), st.integers(0, 1), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@given(ADDITIONS)
def test_the_supervisor_reads_the_sum_and_restarts_lose_nothing(additions):
    small = Layout(slots=2, slot_cells=1024, methods=("Act",), codes=("ok",))
    spec = BlockSpec(policy="p", version=1, lane="stable", sources=("a", "b", "c"), reasons=("",))
    with tempfile.TemporaryDirectory() as folder:
        segment = Segment.create(Path(folder, "counters"), small)
        placed = segment.allocator().place(spec)
        slots = [Slot.open(segment.path, worker) for worker in range(2)]
        expected = np.zeros(3, np.int64)
        for what, worker, source, rows in additions:
            if what == "restart":
                slots[worker] = Slot.open(segment.path, worker)
                slots[worker].process.begin(pid=1)
            else:
                slots[worker].block(placed).sources[source] += rows
                expected[source] += rows
            assert segment.total(placed).sources.tolist() == expected.tolist()


def test_another_process_counts_into_its_own_slot(segment, spec):
    placed = segment.allocator().place(spec)
    program = f"""
from pathlib import Path
from steersman.monitoring.blocks import PlacedBlock
from steersman.monitoring.counters import Slot
slot = Slot.open(Path({str(segment.path)!r}), 1)
slot.process.begin(pid=42)
slot.process.count_call(1, 0)
slot.block(PlacedBlock.model_validate_json({placed.model_dump_json()!r})).sources[1] += 5
"""
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], check=True)
    assert segment.total(placed).sources.tolist() == [0, 10, 0]
    assert segment.calls().tolist() == [[0, 0], [2, 0]]
    assert (segment.process(0).starts, segment.process(1).starts, segment.process(1).pid) == (0, 2, 42)


def test_a_new_process_is_not_ready_and_keeps_its_counts(segment):
    process = Slot.open(segment.path, 0).process
    process.begin(pid=1)
    process.heartbeat_ns, process.ready_unix_ns, process.resident_bytes = 5, 6, 7
    process.count_call(0, 1)
    seen = segment.process(0)
    assert (seen.heartbeat_ns, seen.ready_unix_ns, seen.resident_bytes, seen.starts) == (5, 6, 7, 1)
    process.begin(pid=2)
    assert (seen.heartbeat_ns, seen.ready_unix_ns, seen.resident_bytes, seen.starts) == (0, 0, 0, 2)
    assert seen.calls.tolist() == [[0, 1], [0, 0]]


def test_the_supervisor_cannot_write_and_a_worker_cannot_reach_beyond_its_slot(segment, layout):
    with pytest.raises(ValueError, match="read-only"):
        segment.process(0).begin(pid=1)
    assert Slot.open(segment.path, 0).cells.shape == (layout.slot_cells,)
    assert layout.slot_bytes % mmap.ALLOCATIONGRANULARITY == 0


def test_slots_lie_apart_to_their_last_cell(segment, layout):
    for index in range(layout.slots):
        Slot.open(segment.path, index).cells[:] = index + 1
    assert (segment.cells == np.array([[1], [2]])).all()
    assert read_layout(segment.path) == layout


def test_blocks_start_after_the_process_block(segment, layout, spec):
    placed = segment.allocator().place(spec)
    assert placed.offset == layout.process_cells
    slot = Slot.open(segment.path, 0)
    slot.block(placed).sources[:] = 1
    assert not slot.process.calls.any()
    assert not slot.process.fields.any()


def test_creating_again_starts_from_zero_and_leaves_the_old_mapping_alone(segment, layout, spec):
    placed = segment.allocator().place(spec)
    Slot.open(segment.path, 0).block(placed).sources[0] += 1
    fresh = Segment.create(segment.path, layout)
    assert fresh.total(placed).sources[0] == 0
    assert segment.total(placed).sources[0] == 1
    assert [file.name for file in segment.path.parent.iterdir()] == [segment.path.name]


def test_names_of_any_length_fit(tmp_path):
    long = Layout(
        slots=1, slot_cells=20_000, methods=tuple("m" * 90 + str(i) for i in range(99)), codes=("ok",)
    )
    segment = Segment.create(tmp_path / "c", long)
    assert segment.layout == Slot.open(segment.path, 0).layout == long


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"not a counter file of layout {LAYOUT_VERSION}"),
        (b"something else entirely" * 9, f"not a counter file of layout {LAYOUT_VERSION}"),
        (
            MAGIC + (LAYOUT_VERSION + 1).to_bytes(8, "little") + bytes(64),
            "from the installation that the supervisor runs from",
        ),
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content, message):
    path = tmp_path / "counters"
    path.write_bytes(content)
    for reader in (lambda: Slot.open(path, 0), lambda: Segment.open(path)):
        with pytest.raises(MonitoringError, match=message):
            reader()


def test_missing_file_and_missing_slot_are_named(segment, tmp_path):
    with pytest.raises(MonitoringError, match="absent: the counters cannot be read"):
        Slot.open(tmp_path / "absent", 0)
    with pytest.raises(MonitoringError, match="there is no slot 2; expected 0 to 1"):
        Slot.open(segment.path, 2)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, layout):
    with pytest.raises(MonitoringError, match=r"the counters could not be set up.*bytes to spare"):
        Segment.create(tmp_path / "no" / "such" / "folder", layout)
    too_large = Layout(slots=1, slot_cells=2**57, methods=(), codes=())
    with pytest.raises(MonitoringError, match="the counters could not be set up"):
        Segment.create(tmp_path / "counters", too_large)
    assert list(tmp_path.iterdir()) == []


def test_unlinking_keeps_what_is_mapped(segment, spec):
    placed = segment.allocator().place(spec)
    view = Slot.open(segment.path, 0).block(placed)
    segment.unlink()
    view.sources[0] += 3
    assert segment.total(placed).sources[0] == 3
    assert not segment.path.exists()
