"""Which version of a policy runs in which lane. Knows nothing of transports."""
