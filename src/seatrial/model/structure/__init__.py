"""Blocks, heads and sublayers, found by watching one pass."""
