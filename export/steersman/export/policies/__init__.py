"""What each kind of SB3 policy takes and gives: its contract, its graph, and SB3's own answers."""
