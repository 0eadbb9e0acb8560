"""From a snapshot to what a worker runs: bundles verified, variants measured, signatures asked for."""
