"""The plans that ship with the package, as TOML files."""
