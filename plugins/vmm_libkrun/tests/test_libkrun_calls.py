"""From specifications to calls, for every generation of libkrun; what one cannot do is refused by the call that is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from monocore_vmm_libkrun.calls import AGENT_PORT, Call, build_calls, check_path
from monocore_vmm_libkrun.options import KrunOptions
from monocore_vmm_libkrun.signatures import SIGNATURES, declaration

from monocore_core.errors import Unsupported
from monocore_core.model.machine import Disk, MachineSpec, Share
from monocore_core.model.network import Tap
from monocore_core.model.rootfs import DiskFormat

#: What 1.9 has, of what is used.
V1_9 = frozenset(
    {
        "krun_set_log_level", "krun_create_ctx", "krun_free_ctx", "krun_set_vm_config", "krun_add_disk", "krun_add_virtiofs",
        "krun_add_vsock_port", "krun_set_console_output", "krun_set_env", "krun_set_smbios_oem_strings", "krun_start_enter",
    }
)  # fmt: skip
V1_17 = V1_9 | {
    "krun_add_disk2", "krun_set_kernel", "krun_set_nested_virt", "krun_add_net_tap", "krun_disable_implicit_console",
    "krun_disable_implicit_vsock", "krun_add_vsock", "krun_add_virtio_console_default",
}  # fmt: skip
V1_18 = V1_17 | {"krun_add_virtiofs3", "krun_disable_implicit_init"}
#: Nothing is implicit any more.
V2 = (V1_18 - {"krun_disable_implicit_console", "krun_disable_implicit_vsock", "krun_set_console_output"}) - {
    "krun_add_disk"
}
SPEC = MachineSpec(
    key="k",
    architecture="amd64",
    vcpus=2,
    memory=256 * 1024 * 1024 + 1,
    boot=Path("/boot.erofs"),
    directory=Path("/m"),
    console=Path("/m/console.log"),
)
TSI = KrunOptions(tsi=True)


def names(calls: tuple[Call, ...]) -> list[str]:
    return [call.name for call in calls]


def only(calls: tuple[Call, ...], name: str) -> Any:
    (found,) = (call.arguments for call in calls if call.name == name)
    return found


@pytest.mark.parametrize(
    ("symbols", "options"), [(V1_9, TSI), (V1_17, KrunOptions()), (V1_18, KrunOptions()), (V2, KrunOptions())]
)
def test_every_generation_boots_the_agents_disk(symbols: frozenset[str], options: KrunOptions) -> None:
    calls = build_calls(SPEC, options, symbols, ())
    assert set(names(calls)) <= symbols
    assert names(calls)[:2] == ["krun_set_log_level", "krun_create_ctx"]
    assert names(calls)[-1] == "krun_start_enter"
    assert only(calls, "krun_set_vm_config") == (2, 257)
    assert only(calls, "krun_add_vsock_port") == (AGENT_PORT, "agent.sock")
    (words,) = only(calls, "krun_set_env")
    assert words == ("root=/dev/vda", "rootfstype=erofs", "ro", "init=/init", f"monocore.vsock={AGENT_PORT}")
    boot = next(call for call in calls if call.name.startswith("krun_add_disk"))
    assert boot.arguments[1] == "/boot.erofs"
    assert boot.arguments[-1] is True
    for call in calls:
        assert len(call.arguments) == len([kind for kind in SIGNATURES[call.name] if kind != "ctx"])


def test_a_library_that_leaks_the_hosts_network_is_refused() -> None:
    with pytest.raises(Unsupported, match="TSI") as refused:
        build_calls(SPEC, KrunOptions(), V1_9, ())
    assert "tsi = true" in (refused.value.hint or "")
    calls = build_calls(SPEC, KrunOptions(), V1_17, ())
    assert names(calls).index("krun_disable_implicit_vsock") < names(calls).index("krun_add_vsock")
    assert only(calls, "krun_add_vsock") == (0,)
    assert "krun_disable_implicit_vsock" not in names(build_calls(SPEC, KrunOptions(), V2, ()))


def test_disks_in_order_with_their_names_on_the_command_line() -> None:
    disks = (
        Disk("root", Path("/r.vmdk"), DiskFormat.VMDK),
        Disk("upper", Path("/u.ext4"), readonly=False),
        Disk("q", Path("/q.qcow2"), DiskFormat.QCOW2),
    )
    calls = build_calls(evolve(SPEC, disks=disks, cmdline=("loglevel=7",)), KrunOptions(), V2, ())
    assert [call.arguments for call in calls if call.name == "krun_add_disk2"] == [
        ("boot", "/boot.erofs", 0, True),
        ("root", "/r.vmdk", 2, True),
        ("upper", "/u.ext4", 0, False),
        ("q", "/q.qcow2", 1, True),
    ]
    (words,) = only(calls, "krun_set_env")
    assert words[-2:] == ("monocore.disks=root,upper,q", "loglevel=7")
    with pytest.raises(Unsupported, match="krun_add_disk2"):
        build_calls(evolve(SPEC, disks=disks), TSI, V1_9, ())


def test_read_only_folders_need_a_library_that_keeps_them_so() -> None:
    fixed, open_ = Share("a", Path("/a")), Share("b", Path("/b"), readonly=False)
    calls = build_calls(SPEC, KrunOptions(), V2, (fixed, open_))
    assert [call.arguments for call in calls if call.name == "krun_add_virtiofs3"] == [
        ("a", "/a", 0, True),
        ("b", "/b", 0, False),
    ]
    assert only(build_calls(SPEC, KrunOptions(), V1_17, (open_,)), "krun_add_virtiofs") == ("b", "/b")
    with pytest.raises(Unsupported, match="krun_add_virtiofs3"):
        build_calls(SPEC, KrunOptions(), V1_17, (fixed,))
    with pytest.raises(Unsupported, match="cannot hide /a/secret"):
        build_calls(SPEC, KrunOptions(), V2, (evolve(fixed, hidden=(Path("/a/secret"),)),))


def test_a_tap_by_its_name() -> None:
    spec = evolve(SPEC, attachment=Tap("tap0", "02:00:00:00:00:01"))
    assert only(build_calls(spec, KrunOptions(), V2, ()), "krun_add_net_tap") == (
        "tap0",
        "02:00:00:00:00:01",
        0,
        0,
    )
    with pytest.raises(Unsupported, match="krun_add_net_tap"):
        build_calls(spec, TSI, V1_9, ())


def test_the_options_become_calls() -> None:
    options = KrunOptions(nested=True, smbios=("a", "b"), kernel=Path("/vmlinux"))
    calls = build_calls(SPEC, options, V2, ())
    assert only(calls, "krun_set_nested_virt") == (True,)
    assert only(calls, "krun_set_smbios_oem_strings") == (("a", "b"),)
    path, form, initramfs, cmdline = only(calls, "krun_set_kernel")
    assert (path, form, initramfs) == ("/vmlinux", 1, None)
    assert cmdline.startswith("console=hvc0")
    assert "init=/init" in cmdline
    assert "krun_set_env" not in names(calls)
    with pytest.raises(Unsupported, match="krun_set_nested_virt"):
        build_calls(SPEC, evolve(TSI, nested=True), V1_9, ())


def test_what_is_too_old_or_too_much_is_said() -> None:
    with pytest.raises(Unsupported, match="has no krun_set_env"):
        build_calls(SPEC, TSI, V1_9 - {"krun_set_env"}, ())
    with pytest.raises(Unsupported, match="256 vCPUs"):
        build_calls(evolve(SPEC, vcpus=256), KrunOptions(), V2, ())
    with pytest.raises(Unsupported, match="not UTF-8"):
        check_path(Path("/a\udcff"))


def test_declarations_are_c() -> None:
    assert declaration("krun_create_ctx") == "int32_t krun_create_ctx(void);"
    assert declaration("krun_add_disk2") == (
        "int32_t krun_add_disk2(uint32_t, const char *, const char *, uint32_t, bool);"
    )
