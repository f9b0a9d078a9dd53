"""Fewer numbers to a vector: what an index was compressed to, and the maps that do it, applied with NumPy alone."""
