"""The `filters` package."""
