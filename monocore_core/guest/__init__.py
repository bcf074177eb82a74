"""The agent inside the guest (``agent/``, C) and the host's side of it: client, wire format, build, boot disk."""
