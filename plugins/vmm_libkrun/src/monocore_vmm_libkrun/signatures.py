"""Every function of libkrun that is used, by the kinds of its arguments. Libraries are bound by what they have, not by version.

The reference is ``include/libkrun.h`` of containers/libkrun, 1.9 to 1.19, and the 2.x generation, in which nothing is implicit.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Kinds: ``ctx`` the context's number; ``str?`` text or NULL; ``strs`` a list that ends with NULL; ``mac`` six bytes.
SIGNATURES: Mapping[str, tuple[str, ...]] = {
    "krun_set_log_level": ("u32",),
    "krun_create_ctx": (),
    "krun_free_ctx": ("ctx",),
    "krun_set_vm_config": ("ctx", "u8", "u32"),
    "krun_add_disk": ("ctx", "str", "str", "bool"),
    "krun_add_disk2": ("ctx", "str", "str", "u32", "bool"),
    "krun_add_virtiofs": ("ctx", "str", "str"),
    "krun_add_virtiofs3": ("ctx", "str", "str", "u64", "bool"),
    "krun_disable_implicit_console": ("ctx",),
    "krun_disable_implicit_vsock": ("ctx",),
    "krun_disable_implicit_init": ("ctx",),
    "krun_add_vsock": ("ctx", "u32"),
    "krun_add_vsock_port": ("ctx", "u32", "str"),
    "krun_add_virtio_console_default": ("ctx", "int", "int", "int"),
    "krun_set_console_output": ("ctx", "str"),
    "krun_add_net_tap": ("ctx", "str", "mac", "u32", "u32"),
    "krun_set_env": ("ctx", "strs"),
    "krun_set_kernel": ("ctx", "str", "u32", "str?", "str"),
    "krun_set_nested_virt": ("ctx", "bool"),
    "krun_set_smbios_oem_strings": ("ctx", "strs"),
    "krun_start_enter": ("ctx",),
}
_TYPES = {
    "ctx": "uint32_t",
    "u8": "uint8_t",
    "u32": "uint32_t",
    "u64": "uint64_t",
    "int": "int",
    "bool": "bool",
    "str": "const char *",
    "str?": "const char *",
    "strs": "const char *const *",
    "mac": "const uint8_t *",
}


def declaration(name: str) -> str:
    """The C declaration of one function."""
    types = ", ".join(_TYPES[kind] for kind in SIGNATURES[name]) or "void"
    return f"int32_t {name}({types});"
