from __future__ import annotations

import pytest

from steersman.bundle.validation import SettingsError, validated
from steersman.safety.breaker_settings import BreakerSettings


def test_every_setting_of_the_documented_example_is_read():
    written = {
        "errors": 0.05,
        "late": {"after_ms": 50, "rate": 0.05},
        "guarded": 0.5,
        "window": 200,
        "least": 50,
        "open_s": 10,
        "ramp": [0.05, 0.25, 0.5],
        "healthy": 100,
        "min_s": 30,
    }
    read = validated(BreakerSettings, written, where="breaker")
    assert read == BreakerSettings(errors=0.05, late={"after_ms": 50.0, "rate": 0.05}, guarded=0.5), (
        "these are the defaults"
    )
    assert read.model_dump(mode="json") == {**written, "ramp": [0.05, 0.25, 0.5]}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "needs a limit: errors, late, guarded"),
        ({"errors": 1.0}, "errors"),
        ({"errors": 0.1, "ramp": []}, "ramp"),
        ({"errors": 0.1, "ramp": [0.5, 0.25]}, "a ramp grows; 0.25 does not after 0.5"),
        ({"errors": 0.1, "ramp": [0.0, 0.5]}, r"ramp\[0\]"),
        ({"errors": 0.1, "least": 500}, "least 500 is above window 200"),
        ({"errors": 0.1, "windows": 10}, "window"),
        ({"late": {"after_ms": 0, "rate": 0.1}}, "after_ms"),
        ({"late": {"after_ms": 5}}, "rate"),
        ({"errors": float("nan")}, "errors"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(written, said):
    with pytest.raises(SettingsError, match=said):
        validated(BreakerSettings, written, where="breaker")
