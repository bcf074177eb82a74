"""``make test-kvm``: the tests marked ``kvm``, on this host's KVM or, where it has none that works, inside one of our own sandboxes.

QEMU's TCG emulates AMD's SVM, so a guest that may nest has a real ``/dev/kvm``. The image for it is made of this host's own files: no
registry is asked and nothing is installed in the guest.
"""
