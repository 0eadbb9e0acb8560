"""The server: decides actions for rows of observations, over gRPC.

Read `decision.py` first (the vocabulary), then `deciding/engine.py` (the core, free of transports), then
`worker.py` and `supervising/supervisor.py` (the processes). `rpc/` holds the transports, `rollout/` says
which version runs where.
"""
