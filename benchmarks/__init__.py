"""Measures Steersman against bare minimums with the same messages: `python -m benchmarks`, `make bench`.

Where things are:

- `cli`, `run`: the command, and the three parts that it runs;
- `policies`, `mlp`: small real bundles of any width, made without torch;
- `exchange`, `servers`, `echo`: one call's messages, and the servers that answer it;
- `loads`, `h2load`, `client_load`: who calls, and how hard;
- `processes`, `counters`: CPU and memory of a server's processes, and its own count of the calls;
- `points`, `rounds`, `turns`: one measured point, and the alternating rounds;
- `engine_figures`, `engine_kit`, `engine_parts`, `timing`: the decision core in this process;
- `startup`: how long a worker takes to be ready, and what it weighs;
- `summary`, `budgets`, `results`, `report`, `tables`, `machine`: from measurements to medians and tables.

What the figures mean and how far to trust them: docs/performance.md.
"""
