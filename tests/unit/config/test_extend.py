"""``extends``: what is taken, what is joined, what is replaced."""

from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.health import ExecProbe, RestartKind
from monocore_core.model.network import Publish
from monocore_core.model.secret import SecretEnvironment
from monocore_core.model.service import Service
from monocore_core.model.volume import VolumeMount
from monocore_core.testing.projects import Given, problems_of, project_of

BASE = """
[[service]]
name = "base"
image = "alpine"
profiles = ["never"]
command = ["a", "b"]
args = ["c"]
cpus = 2
ports = ["80", "81"]
env = { A = 1, B = 2 }
volumes = ["./x:/x", "./y:/y:ro"]
tmpfs = ["/tmp:size=1m", "/t"]
rlimits = ["nofile=1", "core=0"]
secrets = [{ name = "s", environment = "S1" }, { name = "t", environment = "T" }]
depends_on = ["db"]
labels = { a = "1", b = "2" }
restart = { policy = "always", initial = 3 }
healthcheck = { exec = ["true"], interval = 7 }
[service.network]
policy = "all"
mtu = 1400
[[service]]
name = "db"
base = "db"
"""


def extended(keys: str) -> Service:
    found = project_of(f'{BASE}\n[[service]]\nname = "web"\nextends = "base"\n{keys}').service("web")
    assert found is not None
    return found


def test_everything_but_name_and_profiles_is_taken() -> None:
    web = extended("")
    base = project_of(BASE, Given(profiles=("never",))).services[0]
    assert base.profiles == ("never",)
    assert (web.name, web.profiles) == ("web", ())
    for key in ("image", "command", "cpus", "ports", "env", "volumes", "tmpfs", "rlimits", "secrets", "depends_on",
                "labels", "restart", "healthcheck", "network"):  # fmt: skip
        assert getattr(web, key) == getattr(base, key), key


def test_lists_of_named_things_and_tables_are_joined_and_others_replaced() -> None:
    web = extended(
        """
        image = "debian"
        args = []
        ports = 9
        envs = ["B=3", "C=4"]
        volumes = ["./z:/x", "./w:/w"]
        tmpfs = ["/tmp"]
        rlimits = ["core=1"]
        secrets = [{ name = "s", environment = "S2" }]
        depends_on = []
        labels = { b = "3" }
        restart = { policy = "no" }
        healthcheck = { exec = ["false"] }
        [service.network]
        policy = "public"
        """
    )
    assert web.image == "debian"
    assert web.command == ("a", "b")
    assert web.ports == (Publish(9, 9),)
    assert web.env == ("A=1", "B=3", "C=4")
    assert web.volumes == (
        VolumeMount("/w", "/srv/shop/w"),
        VolumeMount("/x", "/srv/shop/z"),
        VolumeMount("/y", "/srv/shop/y", readonly=True),
    )
    assert web.tmpfs == (TmpfsMount("/t"), TmpfsMount("/tmp"))
    assert web.rlimits == (Rlimit("nofile", 1, 1), Rlimit("core", 1, 1))
    assert [secret.source for secret in web.secrets] == [SecretEnvironment("T"), SecretEnvironment("S2")]
    assert web.depends_on == ()
    assert web.labels == {"a": "1", "b": "3"}
    assert (web.restart.kind, web.restart.backoff.initial) == (RestartKind.NO, 3.0)
    assert web.healthcheck is not None
    assert (web.healthcheck.probe, web.healthcheck.interval) == (ExecProbe(("false",)), 7.0)
    assert web.network is not None
    assert (web.network.policy.name, web.network.mtu) == ("public", 1400)


def test_a_word_in_place_of_a_table_replaces_it() -> None:
    web = extended('restart = "no"\nnetwork = "local"')
    assert web.restart.backoff.initial == 0.5
    assert web.network is not None
    assert (web.network.policy.name, web.network.mtu) == ("local", 0)


def test_chains_and_files_whose_paths_are_relative_to_themselves() -> None:
    files = {
        "lib/common.toml": "[[service]]\nname = 'b'\nextends = { file = 'deep/more.toml', service = 'c' }\nvolumes = ['./b:/b']",
        "lib/deep/more.toml": (
            "[[service]]\nname = 'c'\nbase = 'alpine:${TAG}'\nvolumes = ['./c:/c']\nenv_files = ['c.env']\n"
            "secrets = [{ name = 's', command = 'show' }]"
        ),
        "lib/deep/c.env": "C=1",
    }
    text = "[[service]]\nname = 'a'\nextends = { file = './lib/common.toml', service = 'b' }\nvolumes = ['./a:/a']"
    found = project_of(text, Given(files=files, environ={"TAG": "3"})).services[0]
    assert found.image == "alpine:3"
    assert found.env == ("C=1",)
    assert [mount.source for mount in found.volumes] == [
        "/srv/shop/a",
        "/srv/shop/lib/b",
        "/srv/shop/lib/deep/c",
    ]


def test_a_problem_of_what_is_taken_is_told_once_and_where_it_stands() -> None:
    text = "[[service]]\nname = 'a'\nbase = 'x'\ncpus = 0\nzzzz = 1\n[[service]]\nname = 'b'\nextends = 'a'\ndepends_on = ['no']"
    found = problems_of(text)
    assert [line.partition(": ")[0] for line in found] == [
        "monocore.toml:4",
        "monocore.toml:5",
        "monocore.toml:9",
    ]
    assert found[0] == "monocore.toml:4: service 'a': cpus: 0 is not from 1 to 255"
    assert found[2] == "monocore.toml:9: service 'b': depends_on 'no', which is not defined (services: a, b)"


def test_a_chain_without_end_is_bounded() -> None:
    links = "".join(f"[[service]]\nname = 's{n}'\nextends = 's{n + 1}'\n" for n in range(40))
    found = problems_of(f"{links}[[service]]\nname = 's40'\nbase = 'x'")
    assert any("extends 's17': more than 16 services: s0 → s1" in line for line in found)
