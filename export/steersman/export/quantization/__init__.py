"""8-bit variants of a graph, and the choice among them."""
