"""Trials: what rules and constraints make of a table of cases, before they are deployed.

- `cases`: cases as people write them, in YAML or CSV.
- `subject`: what is tried: a rule policy, or the whole safety section of a deployment.
- `run`: the cases run, each with what was found beside what was expected.
- `coverage`: which rules decided none of them, and which parts of conditions were always the same.
- `recorded`: recorded observations and actions, held against guard and constraints.
"""
