"""The export as people read it: the model card, the report, the terminal."""
