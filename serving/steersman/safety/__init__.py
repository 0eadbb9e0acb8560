"""Decision safety: what may be asked of a policy, what may leave, and who answers instead.

Pure functions over columns of N rows, compiled once from the deployment's settings and the policy's contract:

- `columns`: the feature matrix that guard and rules read.
- `guard`: verdicts on observations, before the model; by `limits`, and by `stuck`, `stale` and `distance`.
- `confidence`: whether the policy is sure enough, after the model.
- `latch` and `bumpless`: when an episode returns from its fallback to the policy, and how smoothly.
- `memory`: what these remember of an episode, carried by its token.
- `masks`: which actions the caller's mask allows, checked after every answer.
- `fallback`: the chain that answers instead of the policy; its members are in `members` and `rules`.
- `expressions`: the subset of CEL in which rules state their conditions.
- `settings`: the section of a deployment that configures all of it, with a commented example.
"""
