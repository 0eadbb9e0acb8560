"""Episodes for tests of what safety remembers: rows go from step to step as records in their tokens do."""

import numpy as np

from steersman.safety.memory import Memory, MemoryLayout


class Episodes:
    """Rows that go on together, with a clock that the test moves."""

    def __init__(self, fields, rows, shape=(), dtype="float32"):
        self.layout = MemoryLayout(fields)
        self.records = [b""] * rows
        self.previous = np.zeros((rows, *shape), dtype)
        self.now_s = 1e9

    def step(self, elapsed_s):
        """The memory of the next step, so many seconds (or [N] seconds) after the last."""
        elapsed = np.broadcast_to(np.asarray(elapsed_s, np.float64), len(self.records))
        cells, known = self.layout.unpack(self.records)
        self.now_s += float(np.nan_to_num(elapsed).max(initial=0.0))
        return Memory(
            known=known,
            now_s=np.full(len(known), self.now_s),
            elapsed_s=np.where(known, elapsed, np.nan),
            previous=np.where(known.reshape(-1, *(1,) * (self.previous.ndim - 1)), self.previous, 0),
            cells=cells,
        )

    def keep(self, memory, actions=None):
        """The step is over: tokens carry the memory on."""
        self.records = self.layout.pack(memory.cells)
        if actions is not None:
            self.previous = actions

    def forget(self, row):
        """The row's token is lost."""
        self.records[row] = b""
