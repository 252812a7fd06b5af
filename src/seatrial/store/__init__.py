"""What was measured, on disk; no torch here."""
