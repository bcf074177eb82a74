"""What every backend of an interface promises, as tests that a plugin subclasses."""

import pkgutil

import pytest

# so that a failure shows what was compared, as in a test file
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
