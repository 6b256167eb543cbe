"""The `formats` package."""
