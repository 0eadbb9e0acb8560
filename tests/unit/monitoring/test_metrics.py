from __future__ import annotations

import re

import pytest

from steersman.monitoring.metrics import METRICS

SUFFIXES = {"counter": "_total", "info": "_info"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric):
    assert re.fullmatch(r"steersman(_[a-z]+)+", metric.name)
    assert metric.name.endswith(SUFFIXES.get(metric.type, metric.unit))
    assert (metric.type == "counter") == metric.name.endswith("_total")
    assert not {"counter", "gauge", "histogram", "info"} & set(metric.name.removesuffix("_info").split("_"))
    assert metric.unit in {"", "seconds", "bytes", "ratio"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_help_is_a_sentence(metric):
    assert metric.help[0].isupper()
    assert metric.help.endswith(".")
    assert len(metric.help) > 20
    assert "\n" not in metric.help


def test_names_are_unique():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
