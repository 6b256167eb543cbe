"""The `sources` package."""
