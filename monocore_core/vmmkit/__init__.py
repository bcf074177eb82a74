"""What backends of VMMs share; one of a third party may use all of it, or none.

Processes watched through pidfds, bounded consoles, sockets in a machine's folder, channels over them, the guest kernel as a file that a
VMM boots, QEMU's monitor, and what can be known of KVM without trying it.
"""
