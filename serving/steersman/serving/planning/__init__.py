"""From a repository and deployments to a routing snapshot: which version runs in which lane."""
