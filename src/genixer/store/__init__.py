"""The `store` package."""
