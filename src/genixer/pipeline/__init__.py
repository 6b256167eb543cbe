"""The `pipeline` package."""
