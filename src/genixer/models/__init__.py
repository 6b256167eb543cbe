"""The `models` package."""
