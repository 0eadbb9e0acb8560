"""The client's own check of the server's answers, with the code that the server uses: `steersman.safety`.

A caller that must not trust the way to the server, or the server, holds each answer against a deployment of
its own before the action is taken. Where the answer breaks it, or none comes, it may have its fallback chain.

- `check`: `LocalCheck`, which a `PolicyClient` takes.
- `policy`: the check of one policy.
- `memory`: what it remembers of episodes.
- `contract`: the policy's contract, from its description.
"""

from steersman.local_check.check import LocalCheck

__all__ = ["LocalCheck"]
