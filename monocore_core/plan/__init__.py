"""Deciding, without doing: :mod:`.choose` picks the backends, :mod:`.compose` writes the machine's specification. Pure."""
