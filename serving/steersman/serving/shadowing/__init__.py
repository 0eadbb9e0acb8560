"""The shadow lane: another version decides beside the one that answers, off the requests' path, compared."""
