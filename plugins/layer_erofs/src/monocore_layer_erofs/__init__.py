"""Merged roots as metadata-only EROFS over layer tars, for monocore."""
