"""The `inference` package."""
