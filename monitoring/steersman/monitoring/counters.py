"""Counters in shared memory: one file, one slot for each worker.

The supervisor creates the file; worker i maps its own slot alone and is the only one that writes there, the
supervisor maps all of it read-only and adds the slots up. An int64 is written and read whole, so no locks are
needed. A restarted worker inherits its slot and goes on adding: what it counted before is never lost.

    header | slot 0 | slot 1 | ...            each on page borders
    slot: process block | blocks, where the supervisor's `Allocator` puts them

Times come in from outside; nothing here reads a clock.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steersman.monitoring.blocks import Allocator, BlockView, PlacedBlock
from steersman.monitoring.errors import MonitoringError

Counts = NDArray[np.int64]

MAGIC = b"STEERCNT"
LAYOUT_VERSION = 3
"""Raised whenever what lies where changes: supervisor and workers of different versions must not mix."""

DEFAULT_SLOT_CELLS = 128 * 1024
"""1 MiB a worker: some 300 blocks of 8 features, two modes and 3 choices."""

_NUMBERS = struct.Struct("<8s4q")
"""Magic, layout version, slots, cells of a slot, bytes of the names that follow."""

_PROCESS_RESERVED = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """What the header says.

    Attributes:
        slots: Number of workers.
        slot_cells: Capacity of a slot in int64 cells.
        methods: gRPC methods that calls are counted by; a code is a position in here.
        codes: gRPC status codes, likewise.
    """

    slots: int
    slot_cells: int
    methods: tuple[str, ...]
    codes: tuple[str, ...]

    @property
    def process_cells(self) -> int:
        """Size of the process block; blocks start after it."""
        return _PROCESS_RESERVED + len(self.methods) * len(self.codes)

    @property
    def slot_bytes(self) -> int:
        """Distance from one slot to the next."""
        return _whole_pages(self.slot_cells * 8)

    def header(self) -> bytes:
        """The header, whole pages."""
        names = json.dumps({"methods": self.methods, "codes": self.codes}).encode()
        content = _NUMBERS.pack(MAGIC, LAYOUT_VERSION, self.slots, self.slot_cells, len(names)) + names
        return content.ljust(_whole_pages(len(content)), b"\0")


@dataclass(slots=True)
class ProcessView:
    """What a worker says about itself, in its slot or read from it.

    Attributes:
        fields: [16] int64: heartbeat, ready time, start count, resident bytes, process id, the rest reserved.
        calls: [methods, codes] int64, calls answered by method and gRPC status code.
    """

    fields: Counts
    calls: Counts

    @property
    def heartbeat_ns(self) -> int:
        """When the worker last showed that it is alive: nanoseconds of the host's monotonic clock."""
        return int(self.fields[0])

    @heartbeat_ns.setter
    def heartbeat_ns(self, now: int) -> None:
        self.fields[0] = now

    @property
    def ready_unix_ns(self) -> int:
        """Since when the worker answers calls: Unix nanoseconds; 0 while it starts or drains."""
        return int(self.fields[1])

    @ready_unix_ns.setter
    def ready_unix_ns(self, now: int) -> None:
        self.fields[1] = now

    @property
    def starts(self) -> int:
        """How many processes took this slot."""
        return int(self.fields[2])

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        return int(self.fields[3])

    @resident_bytes.setter
    def resident_bytes(self, size: int) -> None:
        self.fields[3] = size

    @property
    def pid(self) -> int:
        """Process id of the worker that took the slot last."""
        return int(self.fields[4])

    def begin(self, pid: int) -> None:
        """A new process takes the slot: it is counted, not ready yet, and has no heartbeat."""
        self.fields[[0, 1, 3]] = 0
        self.fields[4] = pid
        self.fields[2] += 1

    def count_call(self, method: int, code: int, calls: int = 1) -> None:
        """Counts calls, by the codes of their method and status."""
        self.calls[method, code] += calls


@dataclass(frozen=True, slots=True)
class Slot:
    """One worker's counters, and the only part of the file that it maps.

    Attributes:
        index: The worker's number.
        layout: The file's layout.
        cells: [slot_cells] int64, written through.
    """

    index: int
    layout: Layout
    cells: Counts

    @classmethod
    def open(cls, path: Path, index: int) -> Slot:
        """Maps slot `index` of the file, for writing. The slot's previous owner must have ended.

        Raises:
            MonitoringError: The file is missing, is no counter file of this layout, or has no such slot.
        """
        layout = read_layout(path)
        if not 0 <= index < layout.slots:
            raise MonitoringError(
                f"there is no slot {index}", where=str(path), expected=f"0 to {layout.slots - 1}"
            )
        start = len(layout.header()) + index * layout.slot_bytes
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), layout.slot_bytes, offset=start)
        return cls(index, layout, np.frombuffer(memory, np.int64, layout.slot_cells))

    @property
    def process(self) -> ProcessView:
        """The process block."""
        return _process(self.cells, self.layout)

    def block(self, placed: PlacedBlock) -> BlockView:
        """The views that a recorder counts into."""
        return BlockView.of(self.cells, placed)


@dataclass(frozen=True, slots=True)
class Segment:
    """The whole file, as the supervisor reads it.

    Attributes:
        path: The file.
        layout: Its layout.
        cells: [slots, slot_cells] int64, read-only.
    """

    path: Path
    layout: Layout
    cells: Counts

    @classmethod
    def create(cls, path: Path, layout: Layout) -> Segment:
        """Writes the file, all counters 0, and reserves its space; a file that was there is replaced.

        Raises:
            MonitoringError: It could not be written, such as for want of space.
        """
        header = layout.header()
        size = len(header) + layout.slots * layout.slot_bytes
        try:
            _write_whole(path, header, size)
            return cls.open(path)
        except OSError as error:
            raise MonitoringError(
                f"the counters could not be set up: {error.strerror or error}",
                where=str(path),
                expected=f"a folder that can be written and has {size} bytes to spare",
            ) from error

    @classmethod
    def open(cls, path: Path) -> Segment:
        """Maps a file that exists, read-only.

        Raises:
            MonitoringError: The file is missing or is no counter file of this layout.
        """
        layout = read_layout(path)
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = len(layout.header())
        stride = layout.slot_bytes // 8
        cells = np.frombuffer(memory, np.int64, layout.slots * stride, start).reshape(layout.slots, stride)
        return cls(path, layout, cells[:, : layout.slot_cells])

    def allocator(self) -> Allocator:
        """A new allocator of the space after the process blocks."""
        return Allocator(self.layout.process_cells, self.layout.slot_cells)

    def process(self, index: int) -> ProcessView:
        """What worker `index` says about itself."""
        return _process(self.cells[index], self.layout)

    def calls(self) -> Counts:
        """[methods, codes] calls answered, all workers together."""
        size = self.layout.process_cells
        return _process(self.cells[:, :size].sum(axis=0), self.layout).calls

    def total(self, placed: PlacedBlock) -> BlockView:
        """The block's numbers now, all workers together; a copy."""
        start, end = placed.offset, placed.offset + placed.spec.cells
        summed = self.cells[:, start:end].sum(axis=0)
        return BlockView.of(summed, PlacedBlock(spec=placed.spec, offset=0))

    def unlink(self) -> None:
        """Removes the file; who has it mapped keeps the memory."""
        self.path.unlink(missing_ok=True)


def read_layout(path: Path) -> Layout:
    """Reads the header.

    Raises:
        MonitoringError: The file is missing, is no counter file, or is one of another layout.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_NUMBERS.size)
            magic, version, slots, cells, size = _NUMBERS.unpack(start.ljust(_NUMBERS.size, b"\0"))
            if (magic, version) != (MAGIC, LAYOUT_VERSION):
                raise MonitoringError(
                    f"not a counter file of layout {LAYOUT_VERSION}",
                    where=str(path),
                    hint="Start workers from the installation that the supervisor runs from.",
                )
            names = json.loads(file.read(size))
    except OSError as error:
        raise MonitoringError(
            f"the counters cannot be read: {error.strerror or error}", where=str(path)
        ) from error
    return Layout(slots, cells, tuple(names["methods"]), tuple(names["codes"]))


def _process(cells: Counts, layout: Layout) -> ProcessView:
    calls = cells[_PROCESS_RESERVED : layout.process_cells]
    return ProcessView(cells[:_PROCESS_RESERVED], calls.reshape(len(layout.methods), len(layout.codes)))


def _write_whole(path: Path, header: bytes, size: int) -> None:
    """Writes a temporary file beside and renames it, so that nobody maps half a file."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(header)
            file.flush()
            os.posix_fallocate(file.fileno(), 0, size)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _whole_pages(size: int) -> int:
    page = mmap.ALLOCATIONGRANULARITY
    return -(-size // page) * page
