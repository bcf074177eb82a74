"""Bounds of image documents, which come from whoever made the image."""

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a document (the distribution specification's own advice)."""
MAX_DEPTH = 64
"""Objects and lists within one another."""
MAX_LAYERS = 127
"""Layers of one image: what Docker's storage can stack."""
MAX_MANIFESTS = 4096
"""Manifests of one index."""
MAX_ITEMS = 4096
"""Entries of any list or mapping that we interpret: environment, words, labels, annotations, ports."""
MAX_WORD = 128 * 1024
"""UTF-8 bytes of an argument or environment variable (Linux's ``MAX_ARG_STRLEN``)."""
MAX_TEXT = 4096
"""Characters of a name, path or media type."""
MAX_LABEL = 1024 * 1024
"""Characters of a label or annotation."""
MAX_SIZE = (1 << 63) - 1
"""Bytes that a descriptor may give for what it names."""
