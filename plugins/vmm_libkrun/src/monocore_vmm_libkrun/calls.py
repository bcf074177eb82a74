"""From a specification to the calls that make it, for whatever generation of libkrun there is. Pure.

The guest kernel boots from the agent's disk: libkrun appends a guest's environment to the kernel's command line, where the last word of
a kind counts, so ``root=`` and ``init=`` are given there and libkrun's own init never runs. The agent calls the host over vsock, since not
every libkrun has named console ports; disks have no names in libkrun, so the command line lists them in their order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from attrs import frozen

from monocore_core.errors import Unsupported
from monocore_core.model.machine import Disk, MachineSpec, Share
from monocore_core.model.network import Tap
from monocore_core.model.rootfs import DiskFormat
from monocore_vmm_libkrun.options import KrunOptions
from monocore_vmm_libkrun.signatures import SIGNATURES

Argument = str | int | bool | None | tuple[str, ...]

#: The host's vsock port that the agent calls.
AGENT_PORT = 1024
#: In the machine's folder, which is the process's own: a socket's address has no room for long paths.
AGENT_SOCKET = "agent.sock"
#: Descriptor of the console and of libkrun's own words in the VM's process: its standard error.
CONSOLE_FD = 2
#: Console output of the guest is logged by libkrun as errors.
LOG_ERRORS = 1
#: Without these nothing works, in any generation.
NEEDED = frozenset(
    {"krun_create_ctx", "krun_set_vm_config", "krun_add_vsock_port", "krun_set_env", "krun_start_enter"}
)
_MIB = 1024 * 1024
_FORMATS = {DiskFormat.RAW: 0, DiskFormat.QCOW2: 1, DiskFormat.VMDK: 2}
_ELF = 1
_MAX_VCPUS = 255


@frozen
class Call:
    """One call; the context's number, where the function takes one, is left out."""

    name: str
    arguments: tuple[Argument, ...] = ()


def build_calls(
    spec: MachineSpec, options: KrunOptions, symbols: Collection[str], shares: tuple[Share, ...]
) -> tuple[Call, ...]:
    """The calls in order, from the context's creation to ``krun_start_enter``.

    Args:
        spec: what to run.
        options: of the backend.
        symbols: functions that the library has.
        shares: those of ``spec``, files among them replaced by folders that hold them alone.

    Raises:
        Unsupported: this libkrun cannot do it; the call that is missing is named.
    """
    return tuple(_Builder(spec, options, frozenset(symbols), shares).calls())


@frozen
class _Builder:
    spec: MachineSpec
    options: KrunOptions
    symbols: frozenset[str]
    shares: tuple[Share, ...]

    def calls(self) -> Iterator[Call]:
        if missing := sorted(NEEDED - self.symbols):
            raise Unsupported(
                f"this libkrun has no {', '.join(missing)}", hint="libkrun 1.9 or newer is needed"
            )
        if "krun_set_log_level" in self.symbols:
            yield Call("krun_set_log_level", (LOG_ERRORS,))
        yield Call("krun_create_ctx")
        if self.spec.vcpus > _MAX_VCPUS:
            raise Unsupported(f"{self.spec.vcpus} vCPUs are more than libkrun's {_MAX_VCPUS}")
        yield Call("krun_set_vm_config", (self.spec.vcpus, -(-self.spec.memory // _MIB)))
        yield from self._optional()
        for disk in (Disk("boot", self.spec.boot), *self.spec.disks):
            yield self._disk(disk)
        for share in self.shares:
            yield self._share(share)
        yield from self._vsock()
        yield from self._console()
        yield from self._network()
        words = self._kernel_words()
        if self.options.kernel is not None:
            cmdline = " ".join(("console=hvc0 quiet panic=-1 reboot=k", *words))
            yield self._need("krun_set_kernel", str(self.options.kernel), _ELF, None, cmdline)
        else:
            yield Call("krun_set_env", (words,))
        yield Call("krun_start_enter")

    def _need(self, name: str, *arguments: Argument) -> Call:
        if name not in self.symbols:
            raise Unsupported(f"this libkrun has no {name}", hint="a newer libkrun has it")
        return Call(name, arguments)

    def _optional(self) -> Iterator[Call]:
        if "krun_disable_implicit_init" in self.symbols:
            yield Call("krun_disable_implicit_init")
        if self.options.nested:
            yield self._need("krun_set_nested_virt", True)  # noqa: FBT003 - the C function's argument
        if self.options.smbios:
            yield self._need("krun_set_smbios_oem_strings", self.options.smbios)

    def _disk(self, disk: Disk) -> Call:
        if "krun_add_disk2" in self.symbols:
            return Call("krun_add_disk2", (disk.name, str(disk.path), _FORMATS[disk.format], disk.readonly))
        if disk.format is not DiskFormat.RAW:
            raise Unsupported(f"this libkrun reads no {disk.format} disks (krun_add_disk2)", hint="1.10 does")
        return self._need("krun_add_disk", disk.name, str(disk.path), disk.readonly)

    def _share(self, share: Share) -> Call:
        if share.hidden:
            raise Unsupported(
                f"vmm_libkrun cannot hide {share.hidden[0]} in {share.path}", hint="share a folder without it"
            )
        if "krun_add_virtiofs3" in self.symbols:
            return Call("krun_add_virtiofs3", (share.tag, str(share.path), 0, share.readonly))
        if share.readonly:
            raise Unsupported(
                "this libkrun cannot keep a guest from writing into a folder (krun_add_virtiofs3)",
                hint="libkrun 1.18 can",
            )
        return self._need("krun_add_virtiofs", share.tag, str(share.path))

    def _vsock(self) -> Iterator[Call]:
        """A vsock that carries the agent's channel, and nothing of the host's network."""
        if "krun_add_vsock" in self.symbols:
            if "krun_disable_implicit_vsock" in self.symbols:
                yield Call("krun_disable_implicit_vsock")
            yield Call("krun_add_vsock", (0,))
        elif not self.options.tsi:
            raise Unsupported(
                "this libkrun gives every guest the host's network (TSI), and cannot be kept from it (krun_add_vsock)",
                hint="use libkrun 1.17 or newer, or accept it: plugins.vmm_libkrun.tsi = true",
            )
        yield Call("krun_add_vsock_port", (AGENT_PORT, AGENT_SOCKET))

    def _console(self) -> Iterator[Call]:
        if "krun_disable_implicit_console" in self.symbols:
            yield Call("krun_disable_implicit_console")
        if "krun_add_virtio_console_default" in self.symbols:
            yield Call("krun_add_virtio_console_default", (-1, CONSOLE_FD, CONSOLE_FD))
        elif "krun_set_console_output" in self.symbols:
            yield Call("krun_set_console_output", (f"/dev/fd/{CONSOLE_FD}",))

    def _network(self) -> Iterator[Call]:
        attachment = self.spec.attachment
        if isinstance(attachment, Tap):
            yield self._need("krun_add_net_tap", attachment.name, attachment.mac, 0, 0)

    def _kernel_words(self) -> tuple[str, ...]:
        words = ["root=/dev/vda", "rootfstype=erofs", "ro", "init=/init", f"monocore.vsock={AGENT_PORT}"]
        if self.spec.disks:
            words.append("monocore.disks=" + ",".join(disk.name for disk in self.spec.disks))
        return (*words, *self.spec.cmdline)


def check_path(path: Path) -> None:
    """Refuse a path that libkrun could not be given.

    Raises:
        Unsupported: it is not UTF-8, which libkrun wants.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise Unsupported(f"vmm_libkrun: {str(path)!r} is not UTF-8", hint="rename it") from error


assert SIGNATURES.keys() >= NEEDED  # noqa: S101 - of this module's own tables
