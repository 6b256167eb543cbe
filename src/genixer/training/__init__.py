"""The `training` package."""
