"""Monitoring: what is counted while a policy serves, and whether it still looks as it did at export.

Where things are, in the order in which data flows:

- `columns`: which observation features and action dimensions are watched, and how they are named;
- `bins`: from values to cells;
- `blocks`: what is counted for one policy version in one lane, and where;
- `counters`: the shared memory in which workers count and the supervisor reads;
- `recorder`: counts decisions, in a worker;
- `metrics`, `collector`: the counters as Prometheus metrics, in the supervisor;
- `reference`, `clustering`, `resampling`: what is normal, measured at export from whole episodes;
- `drift`: counts against the reference, with a stated false-alarm rate;
- `scrape`: counts read back from `/metrics`.

All of it needs numpy and `steersman.bundle` only; `collector` and `scrape` need prometheus_client as well.
"""
