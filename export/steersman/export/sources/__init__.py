"""What is exported, and the on-policy data that it is judged by."""
