"""Images from OCI registries, for monocore."""
