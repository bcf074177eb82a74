"""Everything that can be wrong with services, each with the whole message; "monocore.toml:" before its line is left out here."""

import pytest

from monocore_core.config.check import Host
from monocore_core.errors import ConfigError
from monocore_core.testing.projects import HOST, Given, problems_of, project_of

WEB = '[[service]]\nname = "web"\nbase = "alpine"\n'
FILES = {
    "bad.env": "A=1\nB C=2\n",
    "other.toml": (
        '[[service]]\nname="bad"\nbase="x"\ncpus=0\n'
        '[[service]]\nname="loop"\nextends={service="web",file="monocore.toml"}\n'
    ),
    "broken.toml": "a =",
}


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ('[[service]]\nbase = "a"', ["1: service 1: name: is missing"]),
        (
            '[[service]]\nname = "a b"\nbase = "a"',
            [
                "2: service 'a b': name: 'a b' is not a name: at most 32 letters, digits, '_' and '-', beginning with a letter or digit"
            ],
        ),
        (
            WEB + '[[service]]\nname = "web"\nbase = "alpine"\n',
            ["5: service 'web': the name is taken (first in line 2)"],
        ),
        (
            '[[group]]\nname = "g"\n[[group]]\nname = "g"\n',
            ["4: group 'g': the name is taken (first in line 2)"],
        ),
        (WEB + "prot = 1", ["4: service 'web': prot: unknown key; did you mean 'port'?"]),
        (
            WEB + "zzz = 1",
            [
                "4: service 'web': zzz: unknown key (known: args, base, command, cpu_fraction, cpus, depends_on, disk, disk_limits, entrypoint, env, env_file, env_files, envs, extends, group, group_envs, group_volumes, healthcheck, idle_timeout, image, init, labels, memory, name, network, platform, port, ports, profiles, pull, ram, read_only, replicas, restart, rlimits, secrets, stop_grace, stop_signal, timeout, tmpfs, user, volumes, workdir)"
            ],
        ),
        ("servce = 1", ["1: servce: unknown key; did you mean 'service'?"]),
        (WEB + 'image = "b"', ["4: service 'web': image: means the same as 'base', and both are given"]),
        ('[[service]]\nname = "x"', ["1: service 'x': base is missing: give the image's reference"]),
        (
            '[[service]]\nname = "web"\nbase = "Alpine"\n',
            [
                "3: service 'web': base: image reference 'Alpine': the name must be lower case (did you mean 'alpine'?)"
            ],
        ),
        ("service = 3", ["1: service: expected a list of tables: write [[service]]"]),
        ('service = {name="x"}', ["1: service: expected a list of tables: write [[service]]"]),
        ("service = [1]", ["1: service 1: expected a table, got the number 1"]),
        ('[service]\nname="x"', ["1: service: expected a list of tables: write [[service]]"]),
        (WEB + "cpus = 0", ["4: service 'web': cpus: 0 is not from 1 to 255"]),
        (WEB + "cpus = 256", ["4: service 'web': cpus: 256 is not from 1 to 255"]),
        (WEB + "cpus = 1.5", ["4: service 'web': cpus: expected a whole number, got the number 1.5"]),
        (WEB + 'cpus = "two"', ["4: service 'web': cpus: expected a whole number, got the text 'two'"]),
        (WEB + "cpus = true", ["4: service 'web': cpus: expected a whole number, got the truth value true"]),
        (WEB + "cpu_fraction = 0", ["4: service 'web': cpu_fraction: 0 is not from 0.01 to 255"]),
        (WEB + "ram = 32", ["4: service 'web': ram: 32 MiB are too little for a guest: at least 64 MiB"]),
        (
            WEB + 'ram = "1x"',
            ["4: service 'web': ram: '1x' is not a size (for example 512m, 1.5g or 512MiB)"],
        ),
        (WEB + "ram = -5", ["4: service 'web': ram: -5 is not from 1 to 8796093022207"]),
        (WEB + "ram = []", ["4: service 'web': ram: expected a size, got a list"]),
        (WEB + "disk = 1", ["4: service 'web': disk: 1 MiB are too little for a disk: at least 16 MiB"]),
        (
            WEB + "disk=64\nread_only = true",
            ["4: service 'web': disk: a root that is read_only has no use for a disk"],
        ),
        (
            WEB + "disk_limits = { read = 5 }",
            ["4: service 'web': disk_limits: there is no disk to limit: give 'disk' its size"],
        ),
        (
            WEB + 'read_only = "yes"',
            ["4: service 'web': read_only: expected true or false, got the text 'yes'"],
        ),
        (
            WEB + 'command = "a \'b"',
            ["4: service 'web': command: \"a 'b\" cannot be split into words: No closing quotation"],
        ),
        (WEB + "command = 3", ["4: service 'web': command: expected text, got the number 3"]),
        (WEB + 'args = "x"', ["4: service 'web': args: expected a list, got the text 'x'"]),
        (WEB + "args = [1]", ["4: service 'web': args[0]: expected text, got the number 1"]),
        (WEB + 'workdir = "x"', ["4: service 'web': workdir: 'x' is not an absolute path"]),
        (
            WEB + 'envs = ["=1"]',
            ["4: service 'web': envs[0]: '=1' is not a variable: write NAME=value, or NAME to pass it on"],
        ),
        (WEB + 'envs = ["A=1",\n "A=2"]', ["5: service 'web': variable 'A' is set twice"]),
        (WEB + "envs = 3", ["4: service 'web': envs: expected a list or a table, got the number 3"]),
        (WEB + "envs = { A = [] }", ["4: service 'web': envs.A: expected text, got a list"]),
        (
            WEB + 'envs = ["A=${NO}"]',
            ["4: service 'web': envs[0]: variable NO is not set: set it, or write ${NO:-text} for a default"],
        ),
        (WEB + 'envs=["A=${NO:?tell me}"]', ["4: service 'web': envs[0]: variable NO: tell me"]),
        (WEB + 'env_files = ["no.env"]', ["4: service 'web': env_files[0]: file no.env does not exist"]),
        (
            WEB + 'env_files = ["bad.env"]',
            [
                "4: service 'web': env_files[0]: bad.env, line 2: 'B C' is not the name of a variable (write NAME=value, without spaces in NAME)"
            ],
        ),
        (
            WEB + "port = 0",
            [
                "4: service 'web': port: '0': '0' is not a port or a range (for example 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010 or 53:53/udp)"
            ],
        ),
        (
            WEB + 'port = "x"',
            [
                "4: service 'web': port: 'x': 'x' is not a port or a range (for example 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010 or 53:53/udp)"
            ],
        ),
        (
            WEB + 'port = ["80:x"]',
            [
                "4: service 'web': port[0]: '80:x': 'x' is not a port or a range (for example 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010 or 53:53/udp)"
            ],
        ),
        (
            WEB + 'port = "1-3:1-2"',
            [
                "4: service 'web': port: '1-3:1-2': the two ranges have different lengths (for example 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010 or 53:53/udp)"
            ],
        ),
        (
            WEB + 'port="1:2/sctp"',
            [
                "4: service 'web': port: '1:2/sctp': 'sctp' is not tcp or udp (for example 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010 or 53:53/udp)"
            ],
        ),
        (
            WEB + 'port = "300.0.0.1:1:2"',
            [
                "4: service 'web': port: '300.0.0.1:1:2': '300.0.0.1' is not an address (for example 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010 or 53:53/udp)"
            ],
        ),
        (WEB + 'port = ["80", "80:81"]', ["4: service 'web': port 80/tcp is published twice"]),
        (WEB + 'port=["80-82","0.0.0.0:82:9"]', ["4: service 'web': port 82/tcp is published twice"]),
        (
            WEB + 'port = "80"\nreplicas = 2',
            [
                "4: service 'web': port 80/tcp cannot be published by each of 2 replicas: leave the port of the host open, as in ':80'"
            ],
        ),
        (
            WEB
            + 'port = "80:1"\n[[service]]\nname = "db"\nbase = "alpine"\nport = ["81:1",\n "127.0.0.1:80:1"]',
            [
                "9: service 'db': port 80/tcp is published by service 'web', too (at 0.0.0.0, which is every address)"
            ],
        ),
        (
            WEB + 'port = "[::1]:80:1"\n[[service]]\nname = "db"\nbase = "alpine"\nport = "[::]:80:1"',
            [
                "8: service 'db': port 80/tcp is published by service 'web', too (at ::1, and :: is every address)"
            ],
        ),
        (
            WEB + 'volumes = ["data"]',
            [
                "4: service 'web': volumes[0]: 'data' is not a volume: write /host:/guest[:ro], ./relative:/guest[:ro], NAME:/guest[:ro] or /path"
            ],
        ),
        (
            WEB + 'volumes = ["a:b"]',
            ["4: service 'web': volumes[0]: 'a:b': 'b' is not an absolute path in the guest"],
        ),
        (
            WEB + 'volumes = ["/a:/b:rx"]',
            ["4: service 'web': volumes[0]: '/a:/b:rx': volume option 'rx' is neither ro nor rw"],
        ),
        (
            WEB + 'volumes = ["/a:/b:ro:x"]',
            [
                "4: service 'web': volumes[0]: '/a:/b:ro:x' is not a volume: write /host:/guest[:ro], ./relative:/guest[:ro], NAME:/guest[:ro] or /path"
            ],
        ),
        (
            WEB + 'volumes = [":/b"]',
            [
                "4: service 'web': volumes[0]: ':/b' is not a volume: write /host:/guest[:ro], ./relative:/guest[:ro], NAME:/guest[:ro] or /path"
            ],
        ),
        (
            WEB + 'volumes = ["~/x:/y"]',
            ["4: service 'web': volumes[0]: '~/x': '~' is not expanded, write ${HOME} instead"],
        ),
        (
            WEB + 'volumes = ["a b:/y"]',
            [
                "4: service 'web': volumes[0]: volume name 'a b' is not allowed (use at most 63 letters, digits, '_', '.' and '-', beginning with a letter or digit; a folder of the host is written with a slash)"
            ],
        ),
        (
            WEB + 'volumes = ["/a:/"]',
            [
                "4: service 'web': volumes[0]: a volume cannot be mounted on '/' (choose a folder of the guest, e.g. /data)"
            ],
        ),
        (WEB + 'volumes = ["/a:/x", "/b:/x/."]', ["4: service 'web': two mounts have one target: /x"]),
        (WEB + 'volumes=["/a:/x"]\ntmpfs=["/x"]', ["5: service 'web': two mounts have one target: /x"]),
        (
            WEB + 'tmpfs=["x"]',
            [
                "4: service 'web': tmpfs[0]: 'x' does not name an absolute path below / (for example /tmp:size=64m)"
            ],
        ),
        (
            WEB + 'tmpfs=["/x:mode=1"]',
            ["4: service 'web': tmpfs[0]: tmpfs option 'mode=1' is not supported (supported: size=SIZE)"],
        ),
        (WEB + "volumes=[3]", ["4: service 'web': volumes[0]: expected text, got the number 3"]),
        (
            WEB + 'volumes=["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx:/y"]',
            [
                "4: service 'web': volumes[0]: volume name 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is not allowed (use at most 63 letters, digits, '_', '.' and '-', beginning with a letter or digit; a folder of the host is written with a slash)"
            ],
        ),
        (
            WEB
            + 'volumes=["/data:/x"]\n[[service]]\nname = "db"\nbase = "alpine"\nvolumes=["/data/sub:/y:ro"]',
            [
                "8: service 'db': /data/sub overlaps /data, which is a volume of service 'web', too: mount both read-only, or make it one volume of a group"
            ],
        ),
        (
            WEB + 'volumes=["d:/x"]\n[[service]]\nname = "db"\nbase = "alpine"\nvolumes=["d:/y"]',
            [
                "8: service 'db': d is a volume of service 'web', too: mount both read-only, or make it one volume of a group"
            ],
        ),
        (
            WEB + 'volumes=["/d:/x"]\n[[group]]\nname = "g"\n[[group.volume]]\nname="v"\npath="/d/e"',
            [
                "7: group 'g': /d/e overlaps /d, which is a volume of service 'web', too: mount both read-only, or make it one volume of a group"
            ],
        ),
        (
            '[[group]]\nname = "g"\n[[group.volume]]\nname="v"\npath="/d/e"\n[[group.volume]]\nname="w"\npath="/d"',
            [
                "6: group 'g': /d overlaps /d/e, which is a volume of group 'g', too: mount both read-only, or make it one volume of a group"
            ],
        ),
        (
            '[[group]]\nname = "g"\n[[group.volume]]\nname="v"\npath="/d"\n[[group.volume]]\nname="v"\npath="/e"',
            ["7: group 'g': volume 'v' is defined twice"],
        ),
        (
            '[[group]]\nname = "g"\n[[group.env]]\nname="v"\n[[group.env]]\nname="v"',
            ["6: group 'g': env 'v' is defined twice"],
        ),
        (
            '[[group]]\nname = "g"\n[[group.env]]\nname="v"\nenvs=["A=1","A=2"]',
            ["5: group 'g': variable 'A' is set twice"],
        ),
        ('[[group]]\nname = "g"\n[[group.volume]]\nname="v"', ["3: group 'g': volume[0].path: is missing"]),
        (
            '[[group]]\nname = "g"\nlocal = 1',
            ["3: group 'g': local: unknown key; did you mean 'local_only'?"],
        ),
        (
            '[[group]]\nname = "g"\nlocal_only = 1',
            ["3: group 'g': local_only: expected true or false, got the number 1"],
        ),
        (
            '[[group]]\nname = "g"\n[[group.volume]]\nname="v"\npath="a b"',
            [
                "5: group 'g': volume[0].path: volume name 'a b' is not allowed (use at most 63 letters, digits, '_', '.' and '-', beginning with a letter or digit; a folder of the host is written with a slash)"
            ],
        ),
        (
            WEB + 'group = "h"\n[[group]]\nname = "g"\n',
            ["4: service 'web': group 'h', which is not defined (groups: g)"],
        ),
        (WEB + 'group="h"', ["4: service 'web': group 'h', which is not defined (groups: none)"]),
        (WEB + 'group_envs=["x"]', ["4: service 'web': group_envs 'x', but the service is in no group"]),
        (
            WEB + 'group_volumes=[{name="x", mount="/y"}]',
            ["4: service 'web': group_volumes 'x', but the service is in no group"],
        ),
        (
            WEB + 'group="g"\ngroup_envs=["x"]\n[[group]]\nname = "g"\n',
            ["5: service 'web': group_envs 'x', which group 'g' does not have (there are: none)"],
        ),
        (
            WEB + 'group="g"\ngroup_volumes=[{name="x", mount="/y"}]\n[[group]]\nname = "g"\n',
            ["5: service 'web': group_volumes 'x', which group 'g' does not have (there are: none)"],
        ),
        (
            WEB + 'group="g"\ngroup_envs=["x","x"]\n[[group]]\nname = "g"\n[[group.env]]\nname="x"',
            ["5: service 'web': group_envs 'x' is given twice"],
        ),
        (
            WEB + 'group_volumes=[{name="x"}]',
            [
                "4: service 'web': group_volumes[0].mount: is missing",
                "4: service 'web': group_volumes 'x', but the service is in no group",
            ],
        ),
        (
            WEB + 'group_volumes=["x:/y"]',
            ["4: service 'web': group_volumes[0]: expected a table, got the text 'x:/y'"],
        ),
        (
            WEB
            + 'group="g"\ngroup_volumes=[{name="v", mount="../x:/y"}]\n[[group]]\nname = "g"\n[[group.volume]]\nname="v"\npath="/data/shared"',
            [
                "5: service 'web': group_volumes[0].mount: '../x:/y': /data/x is not below the volume's path, /data/shared: write '.:/guest' for the whole volume"
            ],
        ),
        (
            WEB
            + 'group="g"\ngroup_volumes=[{name="v", mount="/data/shared2:/y"}]\n[[group]]\nname = "g"\n[[group.volume]]\nname="v"\npath="/data/shared"',
            [
                "5: service 'web': group_volumes[0].mount: '/data/shared2:/y': /data/shared2 is not below the volume's path, /data/shared: write '.:/guest' for the whole volume"
            ],
        ),
        (
            WEB
            + 'group="g"\ngroup_volumes=[{name="v", mount="x:/y"}]\n[[group]]\nname = "g"\n[[group.volume]]\nname="v"\npath="named"',
            [
                "5: service 'web': group_volumes[0].mount: 'x:/y': 'shop.named' is a named volume, of which no part can be mounted"
            ],
        ),
        (
            WEB
            + 'group="g"\n[[group]]\nname = "g"\n[[service]]\nname = "db"\nbase = "alpine"\ngroup="h"\ngroup_envs=["e"]\n[[group]]\nname="h"\n',
            ["11: service 'db': group_envs 'e', which group 'h' does not have (there are: none)"],
        ),
        (
            WEB + 'network = "nope"',
            [
                "4: service 'web': network policy 'nope', which there is not (there are: none, local, public, all)"
            ],
        ),
        (
            WEB + 'network = "none"\nport="80"',
            ["4: service 'web': network policy 'none' leaves no network for ports"],
        ),
        (
            WEB + 'network = {policy="none", mtu=1400}',
            ["4: service 'web': network policy 'none' leaves no network for the other keys of 'network'"],
        ),
        (
            WEB + 'network.rules=["allow nope!", "deny"]',
            [
                "4: service 'web': network.rules[0]: rule 'allow nope!': 'nope!' is neither an address, a network nor a name (allow|deny [tcp|udp|icmp] TARGET[:PORTS], for example 'allow tcp *.debian.org:80,443')",
                "4: service 'web': network.rules[1]: 'deny' is not a rule (allow|deny [tcp|udp|icmp] TARGET[:PORTS], for example 'allow tcp *.debian.org:80,443')",
            ],
        ),
        (
            WEB + 'network.ingress=["allow example.com"]',
            [
                "4: service 'web': network.ingress: 'allow example.com': a name cannot come in (any, group, or an address)"
            ],
        ),
        (
            WEB + 'network.dns=["x"]',
            ["4: service 'web': network.dns[0]: 'x' is not an IPv4 address (for example 10.209.0.20)"],
        ),
        (
            WEB + 'network.dns=["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]',
            ["4: service 'web': network.dns: a guest has at most 3"],
        ),
        (WEB + "network.mtu=1", ["4: service 'web': network.mtu: 1 is not from 1280 to 65520"]),
        (
            WEB + 'network.download="fast"',
            [
                "4: service 'web': network.download: 'fast' is not a rate (bytes per second as 500k or 10m, or bits per second as 100mbit)"
            ],
        ),
        (WEB + 'network.polcy="x"', ["4: service 'web': network.polcy: unknown key; did you mean 'policy'?"]),
        (
            WEB + 'network.dns_search=["-"]',
            ["4: service 'web': network.dns_search[0]: '-' is not a domain (for example corp.example.com)"],
        ),
        (
            WEB + 'rlimits=["nofile"]',
            ["4: service 'web': rlimits[0]: 'nofile' is not NAME=SOFT[:HARD] (for example nofile=1024:4096)"],
        ),
        (
            WEB + 'rlimits=["files=1"]',
            [
                "4: service 'web': rlimits[0]: 'files' is not a resource limit (one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack)"
            ],
        ),
        (
            WEB + 'rlimits=["nofile=1","nofile=2"]',
            ["4: service 'web': resource limit 'nofile' is given twice"],
        ),
        (
            WEB + 'rlimits=["nofile=3:2"]',
            ["4: service 'web': rlimits[0]: 'nofile=3:2': the soft limit is above the hard one"],
        ),
        (
            WEB + 'secrets=[{name="a"}]',
            [
                "4: service 'web': secrets[0]: one of file, environment and command is needed, and none is given"
            ],
        ),
        (
            WEB + 'secrets=[{name="a",file="x",command="y"}]',
            [
                "4: service 'web': secrets[0]: one of file, environment and command is needed, and file and command are given"
            ],
        ),
        (
            WEB + 'secrets=[{name="a",file="x",target="a",variable="B"}]',
            ["4: service 'web': secrets[0]: target and variable are both given"],
        ),
        (
            WEB + 'secrets=[{name="a",file="x",target="/etc/x"}]',
            [
                "4: service 'web': secrets[0]: target '/etc/x' is not below /run/secrets, the only folder that is in memory"
            ],
        ),
        (
            WEB + 'secrets=[{name="a",file="x"},{name="a",environment="B",variable="C"}]',
            ["4: service 'web': two secrets have the name 'a'"],
        ),
        (
            WEB + 'secrets=[{name="a",file="x",variable="C"},{name="b",environment="B",variable="C"}]',
            ["4: service 'web': two secrets have the variable 'C'"],
        ),
        (
            WEB + 'envs=["C=1"]\nsecrets=[{name="a",file="x",variable="C"}]',
            ["5: service 'web': variable 'C' is both a secret and set in clear"],
        ),
        (WEB + 'secrets=[{name="a",command=[]}]', ["4: service 'web': secrets[0]: command has no words"]),
        (
            WEB + 'secrets=[{name="a",file="x",mode="0999"}]',
            ["4: service 'web': secrets[0].mode: '0999' is not a file's mode, such as '0400'"],
        ),
        (
            WEB + 'secrets=[{name="a",environment="1x"}]',
            ["4: service 'web': secrets[0].environment: '1x' is not the name of a variable"],
        ),
        (
            WEB + 'secrets=[{name="a",file="x"}]\ntmpfs=["/run/secrets"]',
            ["5: service 'web': two mounts have one target: /run/secrets, which the secrets have"],
        ),
        (
            WEB + 'depends_on=["db"]',
            ["4: service 'web': depends_on 'db', which is not defined (services: web)"],
        ),
        (WEB + 'depends_on=["web"]', ["4: service 'web': services depend on one another: web → web"]),
        (WEB + 'depends_on="db"', ["4: service 'web': depends_on: expected a list, got the text 'db'"]),
        (
            WEB + 'depends_on=["db","db"]\n[[service]]\nname = "db"\nbase = "alpine"\n',
            ["4: service 'web': depends_on 'db' is given twice"],
        ),
        (
            WEB + 'depends_on=["db"]\n[[service]]\nname = "db"\nbase = "alpine"\ndepends_on=["web"]',
            ["8: service 'db': services depend on one another: web → db → web"],
        ),
        (
            WEB
            + 'depends_on=[{service="db",condition="ready"}]\n[[service]]\nname = "db"\nbase = "alpine"\n',
            ["4: service 'web': depends_on[0].condition: 'ready' is none of started, healthy, completed"],
        ),
        (
            WEB
            + 'depends_on=[{service="db",condition="healthy"}]\n[[service]]\nname = "db"\nbase = "alpine"\n',
            ["4: service 'web': depends_on 'db', which is to be healthy and has no healthcheck"],
        ),
        (
            WEB
            + 'depends_on=[{service="db",condition="completed"}]\n[[service]]\nname = "db"\nbase = "alpine"\nrestart="always"',
            [
                "4: service 'web': depends_on 'db', which is to be completed and never is, as its restart policy is always"
            ],
        ),
        (
            WEB + 'depends_on=["db"]\n[[service]]\nname = "db"\nbase = "alpine"\nprofiles=["dev"]',
            [
                "4: service 'web': depends_on 'db', which is only in the profiles dev: ask for one of them, or give this service one"
            ],
        ),
        (
            WEB
            + 'depends_on=["db"]\n[[service]]\nname = "db"\nbase = "alpine"\ndepends_on=["c","web"]\n[[service]]\nname = "c"\nbase = "alpine"\ndepends_on=["c","web"]',
            [
                "8: service 'db': services depend on one another: web → db → web",
                "12: service 'c': services depend on one another: c → c",
                "12: service 'c': services depend on one another: web → db → c → web",
            ],
        ),
        (
            WEB + 'restart="sometimes"',
            [
                "4: service 'web': restart: 'sometimes' is not a restart policy: no, on-failure, always, unless-stopped, on-failure:N"
            ],
        ),
        (
            WEB + 'restart="always:3"',
            [
                "4: service 'web': restart: 'always:3' is not a restart policy: no, on-failure, always, unless-stopped, on-failure:N"
            ],
        ),
        (
            WEB + 'restart="on-failure:0"',
            ["4: service 'web': restart: 'on-failure:0': '0' is not a number of restarts from 1 to 9999"],
        ),
        (
            WEB + "restart={initial=5,maximum=1}",
            ["4: service 'web': restart.maximum: 1 s is less than 'initial', 5 s"],
        ),
        (WEB + "restart=3", ["4: service 'web': restart: expected text, got the number 3"]),
        (
            WEB + "healthcheck={}",
            ["4: service 'web': healthcheck: one of exec, http and tcp is needed, and none is given"],
        ),
        (
            WEB + "healthcheck={tcp=1,http=1}",
            [
                "4: service 'web': healthcheck: one of exec, http and tcp is needed, and http and tcp are given"
            ],
        ),
        (WEB + "healthcheck={exec=[]}", ["4: service 'web': healthcheck.exec: has no words"]),
        (WEB + 'healthcheck={exec=""}', ["4: service 'web': healthcheck.exec: has no words"]),
        (
            WEB + 'healthcheck={http="x"}',
            ["4: service 'web': healthcheck.http: 'x' is not PORT/PATH, such as '8080/health'"],
        ),
        (
            WEB + 'healthcheck={http=1,status="99"}',
            [
                "4: service 'web': healthcheck.status: '99' is not a status or a range, such as 200 or '200-399'"
            ],
        ),
        (
            WEB + "healthcheck={tcp=1,interval=0}",
            ["4: service 'web': healthcheck.interval: 0 is out of range: more than 0, at most 100 years"],
        ),
        (
            WEB + "healthcheck={tcp=1,retries=0}",
            ["4: service 'web': healthcheck.retries: 0 is not from 1 to 1000"],
        ),
        (WEB + 'healthcheck="x"', ["4: service 'web': healthcheck: expected a table, got the text 'x'"]),
        (
            WEB + 'stop_signal="SIGNOPE"',
            ["4: service 'web': stop_signal: 'SIGNOPE' is not a signal, such as SIGTERM, SIGRTMIN+3 or 15"],
        ),
        (
            WEB + "stop_grace=-1",
            ["4: service 'web': stop_grace: -1 is out of range: at least 0, at most 100 years"],
        ),
        (WEB + "timeout=0", ["4: service 'web': timeout: 0 is out of range: more than 0, at most 100 years"]),
        (
            WEB + 'timeout="soon"',
            [
                "4: service 'web': timeout: 'soon' is not a duration (for example 10, 1.5s, 500ms, 5m or 1h30m)"
            ],
        ),
        (
            WEB + "timeout=1979-05-27",
            ["4: service 'web': timeout: expected a duration, got the date 1979-05-27"],
        ),
        (
            WEB + "idle_timeout=nan",
            ["4: service 'web': idle_timeout: nan is out of range: more than 0, at most 100 years"],
        ),
        (WEB + "replicas=257", ["4: service 'web': replicas: 257 is not from 0 to 256"]),
        (WEB + 'labels=["a"]', ["4: service 'web': labels: expected a table, got a list"]),
        (WEB + "labels={a=[1]}", ["4: service 'web': labels.a: expected text, got a list"]),
        (
            WEB + 'profiles=["a b"]',
            [
                "4: service 'web': profiles[0]: 'a b' is not a name: at most 32 letters, digits, '_' and '-', beginning with a letter or digit"
            ],
        ),
        (
            WEB + 'platform="linux/a/b/c"',
            [
                "4: service 'web': platform: platform 'linux/a/b/c' is not OS/ARCH[/VARIANT], nor a known architecture (for example linux/amd64)"
            ],
        ),
        (WEB + 'pull="often"', ["4: service 'web': pull: 'often' is none of always, missing, never"]),
        (WEB + "init=1", ["4: service 'web': init: expected true or false, got the number 1"]),
        (WEB + "user=0", ["4: service 'web': user: expected text, got the number 0"]),
        (
            'project = "a b"',
            [
                "1: project: 'a b' is not a name: at most 26 letters, digits, '_' and '-', beginning with a letter or digit"
            ],
        ),
        ("project = 1", ["1: project: expected text, got the number 1"]),
        (
            '[daemon]\nlisten=["x"]\nlog_format="xml"\nidle_exit="1h"\nlog_retension=3',
            [
                "2: daemon.listen[0]: 'x' is not ADDRESS:PORT, such as 127.0.0.1:3456",
                "3: daemon.log_format: 'xml' is neither text nor json",
                "5: daemon.log_retension: unknown key; did you mean 'log_retention'?",
            ],
        ),
        ("a = 99999999999999999999", ["1: a: the number is out of range"]),
        ("backends = 3", ["1: backends: expected a table, got the number 3"]),
        ('[backends]\nvm="x"', ["2: backends.vm: unknown key; did you mean 'vmm'?"]),
        ("home=3", ["1: home: expected text, got the number 3"]),
        ("volumes.allow=3", ["1: volumes.allow: expected a list, got the number 3"]),
        (WEB + 'extends="nope"', ["4: service 'web': extends 'nope', which is not defined (services: web)"]),
        (WEB + 'extends="web"', ["4: service 'web': extends 'web': services extend one another: web → web"]),
        (
            WEB + 'extends={service="db",file="../x.toml"}',
            ["4: service 'web': extends '../x.toml', which is not below the folder of this file"],
        ),
        (
            WEB + 'extends={service="db",file="no.toml"}',
            ["4: service 'web': extends 'no.toml': file no.toml does not exist"],
        ),
        (
            WEB + 'extends={service="db",file="other.toml"}',
            ["4: service 'web': extends 'db', which is not defined in other.toml (services: bad, loop)"],
        ),
        (
            WEB + 'extends={service="bad",file="other.toml"}',
            ["@other.toml:4: service 'bad': cpus: 0 is not from 1 to 255"],
        ),
        (WEB + 'extends={file="x"}', ["4: service 'web': extends.service: is missing"]),
        (
            WEB + 'extends={service="a",file="broken.toml"}',
            [
                "4: service 'web': extends 'broken.toml': broken.toml is not valid TOML: Invalid value (at end of document)"
            ],
        ),
        (
            WEB + 'extends={service="loop",file="other.toml"}',
            [
                "@other.toml:7: service 'loop': extends 'web': services extend one another: web (monocore.toml) → loop (other.toml) → web (monocore.toml)"
            ],
        ),
        (
            WEB + 'ram="20g"\ncpus=9',
            ["4: service 'web': ram: 20480 MiB are more than this machine has (16384 MiB)"],
        ),
        (
            '[[service]]\nname="web_a"\nbase="a"\ngroup="g"\n[[service]]\nname="web-a"\nbase="a"\ngroup="g"\n[[group]]\nname = "g"\n',
            ["6: service 'web-a': the hostname 'web-a' of instance 1 is that of service 'web_a', instance 1"],
        ),
        (
            '[[service]]\nname="web"\nbase="a"\ngroup="g"\nreplicas=2\n[[service]]\nname="web-2"\nbase="a"\ngroup="g"\n[[group]]\nname = "g"\n',
            ["7: service 'web-2': the hostname 'web-2' of instance 1 is that of service 'web', instance 2"],
        ),
        ('[[service]]\nname = 3\nbase = "a"', ["2: service 1: name: expected text, got the number 3"]),
        (
            WEB + 'colour = "${NO}"\ncpus = "${NO:-0}"',
            [
                "4: service 'web': colour: variable NO is not set: set it, or write ${NO:-text} for a default",
                "4: service 'web': colour: unknown key (known: args, base, command, cpu_fraction, cpus, depends_on, disk, disk_limits, entrypoint, env, env_file, env_files, envs, extends, group, group_envs, group_volumes, healthcheck, idle_timeout, image, init, labels, memory, name, network, platform, port, ports, profiles, pull, ram, read_only, replicas, restart, rlimits, secrets, stop_grace, stop_signal, timeout, tmpfs, user, volumes, workdir)",
                "5: service 'web': cpus: 0 is not from 1 to 255",
            ],
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, messages: list[str]) -> None:
    found = problems_of(text, Given(files=FILES))
    assert [line.removeprefix("monocore.toml:") for line in found] == [
        one.removeprefix("@") for one in messages
    ]


def test_everything_is_said_at_once_by_line() -> None:
    text = """
[[service]]
name = "web"
nam = 1
depends_on = ["db"]
ram = "lots"

[[service]]
name = "cache"
base = "redis"
port = "80"
[[service]]
name = "api"
base = "api"
port = "80"
depends_on = ["api"]
"""
    with pytest.raises(ConfigError) as caught:
        project_of(text)
    assert caught.value.brief == "monocore.toml: 6 problems"
    assert caught.value.problems == (
        "monocore.toml:2: service 'web': base is missing: give the image's reference",
        "monocore.toml:4: service 'web': nam: unknown key; did you mean 'name'?",
        "monocore.toml:5: service 'web': depends_on 'db', which is not defined (services: api, cache, web)",
        "monocore.toml:6: service 'web': ram: 'lots' is not a size (for example 512m, 1.5g or 512MiB)",
        "monocore.toml:15: service 'api': port 80/tcp is published by service 'cache', too",
        "monocore.toml:16: service 'api': services depend on one another: api → api",
    )


def test_a_cycle_is_printed_as_a_chain_whatever_its_length() -> None:
    names = [f"s{number}" for number in range(500)]
    text = "".join(
        f'[[service]]\nname = "{name}"\nbase = "a"\ndepends_on = ["{after}"]\n'
        for name, after in zip(names, [*names[1:], names[0]], strict=True)
    )
    chain = " → ".join([*names, "s0"])
    assert problems_of(text) == [
        f"monocore.toml:2000: service 's499': services depend on one another: {chain}"
    ]
    straight = text.replace('depends_on = ["s0"]', "")
    assert len(project_of(straight).services) == 500


def test_a_diamond_of_dependencies_is_no_cycle() -> None:
    text = "".join(
        f"[[service]]\nname = '{name}'\nbase = 'a'\ndepends_on = {list(after)}\n"
        for name, after in {"a": "bc", "b": "d", "c": "d", "d": ""}.items()
    )
    assert problems_of(text) == []


def test_limits_of_the_machine() -> None:
    small = Host(2, 4 * 2**30)
    text = WEB + "cpus = 3\nram = 3000\n" + WEB.replace("web", "db") + "ram = 1500\n"
    assert project_of(text, Given(host=small)).warnings == (
        "monocore.toml: all services together may use 4500 MiB, more than this machine has (4096 MiB)",
        "monocore.toml:4: service 'web': 3 virtual processors are more than this machine has (2)",
    )
    assert project_of(text, Given(host=HOST)).warnings == ()
    assert project_of(text, Given(host=None)).warnings == ()
    assert problems_of(WEB + "ram = '5g'", Given(host=small)) == [
        "monocore.toml:4: service 'web': ram: 5120 MiB are more than this machine has (4096 MiB)"
    ]
    assert project_of(WEB + "ram = '3g'\nreplicas = 2", Given(host=small)).warnings == (
        "monocore.toml: all services together may use 6144 MiB, more than this machine has (4096 MiB)",
    )


def test_storage_is_shared_read_only_or_by_a_group() -> None:
    shared = (
        WEB + 'volumes = ["/data:/x:ro"]\n' + WEB.replace("web", "db") + 'volumes = ["/data/sub:/y:ro"]\n'
    )
    assert problems_of(shared) == []
    group = 'group = "g"\ngroup_volumes = [{ name = "v", mount = ".:/v" }]\n'
    text = (
        WEB
        + group
        + WEB.replace("web", "db")
        + group
        + '[[group]]\nname = "g"\n[[group.volume]]\nname = "v"\npath = "/v"'
    )
    assert problems_of(text) == []


def test_the_same_port_is_free_at_other_addresses_protocols_and_for_the_network_to_choose() -> None:
    ports = ['"127.0.0.1:80:1"', '"127.0.0.2:80:1"', '"[::1]:80:1"', '"80:1/udp"', '":80"', '":80"']
    text = "".join(
        f'[[service]]\nname = "s{number}"\nbase = "a"\nport = {port}\n' for number, port in enumerate(ports)
    )
    assert problems_of(text) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "x: 1", "a.yaml is YAML, which is not read"),
        ("a.toml", "x = ", "a.toml is not valid TOML: Invalid value (at end of document)"),
        ("a.json", "{", "a.json is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("a.json", "[]", "a.json is not a JSON object"),
        ("a.json", '{"service": [], "service": []}', "a.json is not valid JSON: an object has 'service' twice"),
        ("a.json", '{"service": [{"name": "\\ud800", "base": "x"}]}', "a.json: service '\\ud800': name: the text has half a character (a lone surrogate) in it"),
        ("a.json", '{"service": [{"name": "a", "base": "x", "group": null}]}', "a.json: service 'a': group: expected text, got null"),
        ("a.toml", "x = " + "[" * 17 + "]" * 17, "a.toml:1: x" + "[0]" * 16 + ": nested deeper than 16"),
    ],
)  # fmt: skip
def test_files_that_are_none(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        project_of(text, Given(name=name))
    assert caught.value.brief == message
