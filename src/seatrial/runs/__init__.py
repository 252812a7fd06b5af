"""What was measured, on disk: one folder a run, one a unit; tables, names, checksums."""
