"""MicroVMs with QEMU, under KVM or TCG, for monocore."""
