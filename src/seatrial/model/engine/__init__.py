"""Exact reuse: what is shared, replayed and read out, equal to the slow obvious way."""
