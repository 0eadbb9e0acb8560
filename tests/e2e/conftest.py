"""Real servers with toy policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from steersman.serving.testing import RunningServer, running_server
from support.toy_bundle import box_contract, discrete_contract, publish_toy

DEPLOYMENT = """\
policy: toy
safety:
  fallback:
    - rules:
        - {when: left > 1.0, then: 2}
    - preference: [0, 1]
"""


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of a discrete policy `toy` and a continuous one `cont`."""
    root = tmp_path_factory.mktemp("repository")
    publish_toy(root, "toy", discrete_contract())
    publish_toy(root, "cont", box_contract())
    return root


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment of `toy` with a fallback."""
    path = tmp_path_factory.mktemp("deployment") / "toy.yaml"
    path.write_text(DEPLOYMENT)
    return path


@pytest.fixture(scope="module")
def server(repository: Path, deployment: Path) -> Iterator[RunningServer]:
    """A server with two workers."""
    with running_server(repository, deployments=[deployment], workers=2) as running:
        yield running
