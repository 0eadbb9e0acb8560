"""`steersman demo`: from nothing to a served policy, as a short story with figures.

`story.py` tells it in order; the other modules do one thing each.
"""
