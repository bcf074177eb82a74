"""Limits on what processes use of the host, by control groups: v2 where it is delegated, v1 where that is what there is.

Every folder that is made is in one named ``monocore-SCOPE``, where a scope is one home folder's; nothing else is written to, but for
``cgroup.subtree_control`` of the group that this is in, and our own process, where v2 requires that it moves to a leaf.

Worked example::

    groups = Cgroups("1f3a")
    groups.what_works()                                # {Limit.CPU: None, Limit.IO: "… why not", …}
    group = groups.create("web-1", Limits(cpu=0.5, pids=200))
    group.attach(process.pid)                          # or let the child write "0" into group.procs before it runs the VMM
    group.usage().cpu_ns
    group.kill()
    group.remove()
    groups.sweep(known={"web-2"})                      # after a crash: end and remove what nobody knows
"""

from monocore_core.cgroups.group import Group
from monocore_core.cgroups.groups import Cgroups
from monocore_core.cgroups.survey import Host, Survey, Way, WhyNot, survey
from monocore_core.cgroups.values import IoLimit, Limit, Limits, Usage

__all__ = [
    "Cgroups",
    "Group",
    "Host",
    "IoLimit",
    "Limit",
    "Limits",
    "Survey",
    "Usage",
    "Way",
    "WhyNot",
    "survey",
]
