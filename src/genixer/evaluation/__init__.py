"""The `evaluation` package."""
