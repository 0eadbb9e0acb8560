"""Ids of decisions: no two alike, whatever is asked for at a time and from wherever."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from steersman.serving.deciding.decision_ids import ID_BYTES, POOL_BYTES, DecisionIds

POOL_ROWS = POOL_BYTES // ID_BYTES


@pytest.mark.parametrize("rows", [1, 3, POOL_ROWS - 1, POOL_ROWS, POOL_ROWS + 1])
def test_no_id_is_given_twice(rows: int) -> None:
    ids = DecisionIds(bytes(32))
    drawn = [ids.random(rows) for _ in range(2 * POOL_ROWS // rows + 3)]
    assert {batch.shape for batch in drawn} == {(rows, ID_BYTES)}
    every = np.concatenate(drawn)
    assert len(np.unique(every, axis=0)) == len(every)


def test_no_two_threads_get_the_same_id() -> None:
    ids = DecisionIds(bytes(32))
    with ThreadPoolExecutor(4) as threads:
        drawn = np.concatenate(list(threads.map(ids.random, [1, 2, 3] * 400)))
    assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_ids_do_not_depend_on_the_salt_alone() -> None:
    assert DecisionIds(bytes(32)).random(1).tobytes() != DecisionIds(bytes(32)).random(1).tobytes()
