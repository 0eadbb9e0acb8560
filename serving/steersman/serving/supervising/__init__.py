"""The supervisor: the workers' lives, the plan in force, HTTP, and what is kept."""
