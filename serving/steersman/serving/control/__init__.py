"""The control service: people (and later a controller) move deployments. Part of the supervisor."""
