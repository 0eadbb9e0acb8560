"""The decision core, free of transports: calls become columns, rows find lanes, steps run once for all."""
