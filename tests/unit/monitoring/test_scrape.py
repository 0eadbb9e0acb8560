from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from steersman.monitoring.collector import SteersmanCollector
from steersman.monitoring.columns import action_dimensions
from steersman.monitoring.counters import Slot
from steersman.monitoring.errors import MonitoringUsageError
from steersman.monitoring.recorder import Recorder, Rows
from steersman.monitoring.scrape import scraped_window

POLE = {"policy": "pole", "version": 3, "mode": "greedy"}


@pytest.fixture
def place(segment):
    """Places a spec and gives its view in slot 0; what was placed is scraped."""
    allocator = segment.allocator()
    slot = Slot.open(segment.path, 0)
    registry = CollectorRegistry()
    registry.register(SteersmanCollector(segment, lambda: allocator.placed, lambda: ()))

    def place(spec):
        return slot.block(allocator.place(spec))

    place.scrape = lambda: generate_latest(registry).decode()
    return place


def test_what_happened_between_two_scrapes(place, spec, contract, reference):
    view = place(spec)
    recorder = Recorder(view, {"greedy": reference}, contract)
    rng = np.random.default_rng(0)
    starts = np.arange(50) % 25 == 0

    def play():
        x, actions = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
        recorder.record(Rows("greedy", np.ones(50, np.int8), x, actions, starts=starts))

    play()
    before, cells = place.scrape(), [view.observation_cells.copy(), view.action_cells.copy()]
    play()
    play()
    window = scraped_window(before, place.scrape(), **POLE)
    assert (window.features(spec.features) == view.observation_cells[0] - cells[0][0]).all()
    assert (window.actions(action_dimensions(contract)) == view.action_cells[0] - cells[1][0]).all()
    assert window.episodes() == 4


def test_lanes_add_up_and_other_versions_do_not(place, spec):
    specs = (
        spec,
        spec.model_copy(update={"lane": "canary"}),
        spec.model_copy(update={"version": 4}),
        spec.model_copy(update={"modes": ("sampled",), "lane": "other"}),
    )
    for number, view in enumerate(map(place, specs)):
        view.observation_cells[...] = 10**number
    window = scraped_window("", place.scrape(), **POLE)
    assert (window.features(spec.features) == 11).all()


def test_a_counter_that_was_reset_counts_from_zero(place, spec):
    view = place(spec)
    view.episodes[0] = 9
    before = place.scrape()
    view.episodes[0] = 4
    assert scraped_window(before, place.scrape(), **POLE).episodes() == 4


def test_series_that_are_absent_are_zero(place, spec):
    place(spec)
    window = scraped_window("", place.scrape(), **POLE)
    assert window.features(["nobody"]).tolist() == [[0] * 13]
    assert window.features([]).shape == (0, 0)


def test_a_policy_that_is_not_there_is_an_error(place, spec):
    place(spec)
    for wrong in ({"policy": "cart"}, {"version": 4}, {"mode": "sampled"}):
        with pytest.raises(MonitoringUsageError, match="no observations of"):
            scraped_window("", place.scrape(), **POLE | wrong)
