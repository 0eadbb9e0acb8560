"""The decision core, free of transports: calls become columns, rows find their lanes, steps run once for all."""
