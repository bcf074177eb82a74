"""Images from docker-save and OCI archives, OCI layout folders, and root file systems."""
