"""The `tasks` package."""
