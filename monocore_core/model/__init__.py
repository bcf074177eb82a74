"""Frozen values, without behaviour beyond their own consistency; everything above speaks in these."""
