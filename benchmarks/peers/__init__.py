"""Measures Steersman beside other model servers, same model and load.

`python -m benchmarks.peers`, `make bench-peers`. Where things are:

- `cli`, `run`: the command, and what it runs;
- `peer`, `catalogue`: what is known of a peer, and all of them: `triton`, `mlserver`, `kserve`, `ray`,
  `bentoml`, `litserve`;
- `locks`, `venvs`: the packages of each peer, and the virtual environments made of them, outside of here;
- `apps`: what runs in those environments: the model, as each peer wants it;
- `model`, `wire`: the policy as ONNX without what peers have no use for, and its calls as bytes;
- `launch`: starting, checking and ending a peer;
- `rounds`, `weigh`: measuring, where one may fail without ending the others, and memory;
- `report`: tables.

How to read the figures: docs/performance-peers.md.
"""
