"""Names to weights: find, fetch, convert, load."""
