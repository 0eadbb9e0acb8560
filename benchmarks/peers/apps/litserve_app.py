"""LitServe, one worker: `python litserve_app.py PORT`.

No postponed annotations here: LitServe reads those of `decode_request`.
"""

import sys
from typing import Any

import litserve
import numpy as np
from policy import Policy


class PolicyApi(litserve.LitAPI):
    """Answers `{"obs": [[...]], "action_mask": [[...]]}` with `{"action": [...]}`."""

    def setup(self, device: str) -> None:
        """Loads the policy."""
        del device
        self._policy = Policy()

    def decode_request(self, request, **_: object) -> tuple[Any, Any]:  # noqa: ANN001
        """From JSON to arrays."""
        return np.array(request["obs"], np.float32), np.array(request["action_mask"], np.bool_)

    def predict(self, x: tuple[Any, Any], **_: object) -> Any:
        """Answers one request."""
        return self._policy.act(*x)

    def encode_response(self, output: Any, **_: object) -> dict[str, Any]:
        """From arrays to JSON."""
        return {"action": output.tolist()}


if __name__ == "__main__":
    litserve.LitServer(PolicyApi(), accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
