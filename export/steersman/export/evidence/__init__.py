"""Proof that a graph answers as SB3 does, and what quantization changed."""
