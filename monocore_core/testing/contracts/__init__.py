"""What every backend of an interface promises, as tests that a plugin subclasses."""
