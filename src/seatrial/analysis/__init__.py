"""Rows to estimates to verdicts; no torch here."""
