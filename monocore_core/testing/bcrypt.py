"""bcrypt, the one hash that the registry's htpasswd files may have, from the system's own libcrypt (crypt(3))."""

from __future__ import annotations

import ctypes

from monocore_core.errors import Unsupported

_LIBRARY = "libcrypt.so.1"
_PREFIX = b"$2b$"
#: The least work that bcrypt allows: these are passwords of tests.
_COST = 4


def bcrypt(password: str) -> str:
    """Hash of a password, ``$2b$04$…``, with a random salt.

    Raises:
        Unsupported: this system's libcrypt is missing or has no bcrypt.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
        gensalt, crypt = library.crypt_gensalt, library.crypt
    except (OSError, AttributeError) as error:
        raise Unsupported(
            f"{_LIBRARY} cannot make salts", hint="install the Debian package libcrypt1"
        ) from error
    gensalt.restype = crypt.restype = ctypes.c_char_p
    gensalt.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int]
    crypt.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    salt = gensalt(_PREFIX, _COST, None, 0)
    hashed = crypt(password.encode(), salt) if salt else None
    if not hashed or not hashed.startswith(_PREFIX):
        raise Unsupported(f"{_LIBRARY} has no bcrypt")
    return str(hashed.decode())
