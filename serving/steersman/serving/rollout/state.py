"""What is kept of a policy's deployment beside the document itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from steersman.bundle.specs import Spec
from steersman.serving.rollout.deployment import Deployment


class DeploymentState(Spec):
    """A deployment as it is in force.

    Attributes:
        deployment: The document.
        revision: Grows by one with each change; 0 where nobody ever said a deployment.
        rollout_id: Salt of the assignment of episodes to lanes; empty where all episodes are stable's.
        epoch: Number of allocations of episodes so far.
    """

    deployment: Deployment
    revision: Annotated[int, Field(ge=0)] = 0
    rollout_id: str = ""
    epoch: Annotated[int, Field(ge=0)] = 0

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return self.deployment.policy

    @property
    def document(self) -> str:
        """The deployment as JSON, with what people said and nothing else."""
        return self.deployment.model_dump_json(exclude_unset=True)
