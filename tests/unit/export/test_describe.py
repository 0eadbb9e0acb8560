"""What the manifest says about where a policy comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from steersman.export.errors import ExportUsageError
from steersman.export.reading.load import load_policy
from steersman.export.report.describe import provenance
from steersman.export.sources.source import Source
from unit.export.conftest import NORMALIZED, Train


def test_what_registers_the_environment_is_kept(trained: Train) -> None:
    model = trained(NORMALIZED)
    source = Source(model.zip, env_id="Drift-v0", env_kwargs={"action": "arm"}, env_import="my.environments")
    environment = provenance(load_policy(model.zip), source, None).environment
    assert environment is not None
    assert environment.model_dump() == {
        "id": "Drift-v0",
        "kwargs": {"action": "arm"},
        "import_module": "my.environments",
    }


def test_statistics_that_are_gone_are_named(trained: Train, tmp_path: Path) -> None:
    model = trained(NORMALIZED)
    with pytest.raises(ExportUsageError, match=r"gone\.pkl: it cannot be read: No such file"):
        provenance(load_policy(model.zip), Source(model.zip, vecnormalize=tmp_path / "gone.pkl"), None)
