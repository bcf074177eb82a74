"""What a file means: each key, its defaults, and how services, groups, files and variables come together."""

import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.config.project import Reading, load_project, parse_project, project_name, remote_reading
from monocore_core.errors import ConfigError, NotFound
from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.health import (
    Backoff,
    ExecProbe,
    Healthcheck,
    HttpProbe,
    RestartKind,
    RestartPolicy,
    TcpProbe,
)
from monocore_core.model.network import Dns, Limits, Publish
from monocore_core.model.oci import Platform
from monocore_core.model.policy import PROFILES, Action, Protocol, parse_policy
from monocore_core.model.sandbox import MIB, PullPolicy
from monocore_core.model.secret import Secret, SecretCommand, SecretEnvironment, SecretFile
from monocore_core.model.service import (
    Condition,
    Dependency,
    DiskLimits,
    Group,
    GroupEnv,
    GroupVolume,
    Service,
    ServiceNetwork,
)
from monocore_core.model.volume import VolumeMount
from monocore_core.testing.projects import FOLDER, Given, changed, project_of, same, service_of

#: As monocore 0.2.1's own example had it.
OLD = """
[[service]]
name = "server"
base = "alpine:latest"
ram = 512
cpus = 2
group = "app"
command = "/bin/sleep"
args = ["infinity"]
port = "3000:80"
workdir = "/app"
volumes = ["/srv/a:/a", "/srv/b"]
envs = ["LOG=debug"]
group_envs = ["common"]
group_volumes = [{ name = "main", mount = "logs:/var/log" }]
depends_on = ["database"]

[[service]]
name = "database"
base = "postgres:16"
group = "app"
port = "5432"
group_volumes = [{ name = "main", path = "/srv/shared/db:/var/lib/postgresql" }]

[[group]]
name = "app"
local_only = true

[[group.volume]]
name = "main"
path = "/srv/shared"

[[group.env]]
name = "common"
envs = ["LOG=info", "REGION=eu"]
"""

LOCAL = ServiceNetwork(PROFILES["local"])


def test_a_file_of_the_original_means_what_it_meant() -> None:
    project = project_of(OLD)
    server, database = project.services
    home = IPv4Address("127.0.0.1")
    assert server == Service(
        name="server",
        image="alpine:latest",
        group="app",
        command=("/bin/sleep", "infinity"),
        workdir="/app",
        cpus=2,
        memory=512 * MIB,
        env=("LOG=debug", "REGION=eu"),
        ports=(Publish(80, 3000, home),),
        volumes=(
            VolumeMount("/a", "/srv/a"),
            VolumeMount("/srv/b", "/srv/b"),
            VolumeMount("/var/log", "/srv/shared/logs"),
        ),
        depends_on=(Dependency("database"),),
        network=LOCAL,
    )
    assert database.memory == 1024 * MIB
    assert database.cpus == 1
    assert database.ports == (Publish(5432, 5432, home),)
    assert database.volumes == (VolumeMount("/var/lib/postgresql", "/srv/shared/db"),)
    assert project.groups == (
        Group(
            "app",
            local_only=True,
            volumes=(GroupVolume("main", "/srv/shared"),),
            envs=(GroupEnv("common", ("LOG=info", "REGION=eu")),),
        ),
    )
    assert project.name == "shop"
    assert project.source == FOLDER / "monocore.toml"
    assert project.warnings == ()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", {}),
        ("command = \"sh -c 'echo hi'\"", {"command": ("sh", "-c", "echo hi")}),
        ('command = ["a b", ""]\nargs = ["c"]', {"command": ("a b", "", "c")}),
        ('args = ["c"]', {"command": ("c",)}),
        ('entrypoint = "/init --x"', {"entrypoint": ("/init", "--x")}),
        ("entrypoint = []", {"entrypoint": ()}),
        ('user = "app:app"', {"user": "app:app"}),
        (
            'platform = "arm64"\npull = "always"',
            {"platform": Platform("linux", "arm64"), "pull": PullPolicy.ALWAYS},
        ),
        ('cpus = "4"\ncpu_fraction = 0.5', {"cpus": 4, "cpu_fraction": 0.5}),
        ('memory = "1.5g"', {"memory": 1536 * MIB}),
        ('ram = "256"', {"memory": 256 * MIB}),
        (
            'disk = "2g"\ndisk_limits = { read = "10m", write = 5, write_ops = 100 }',
            {"disk": 2048 * MIB, "disk_limits": DiskLimits(10 * MIB, 5, 0, 100)},
        ),
        ("read_only = true", {"readonly": True}),
        (
            'tmpfs = ["/tmp", "/run/x:size=16m"]',
            {"tmpfs": (TmpfsMount("/tmp"), TmpfsMount("/run/x", 16 * MIB))},
        ),
        (
            'volumes = ["./src/../src:/src:ro", "data:/data", "/c:/c:rw", { source = "/a:b", target = "/e" }]',
            {
                "volumes": (
                    VolumeMount("/c", "/c"),
                    VolumeMount("/data", "shop.data"),
                    VolumeMount("/e", "/a:b"),
                    VolumeMount("/src", "/srv/shop/src", readonly=True),
                )
            },
        ),
        (
            "rlimits = ['nofile=64:128', 'RLIMIT_CORE=-1']",
            {"rlimits": (Rlimit("nofile", 64, 128), Rlimit("core", -1, -1))},
        ),
        ("envs = { A = 1, B = true, C = 'x=y' }", {"env": ("A=1", "B=true", "C=x=y")}),
        ("env = ['HERE', 'GONE', 'EMPTY=']", {"env": ("HERE=yes", "EMPTY=")}),
        ("env_file = 'a.env'\nenvs = ['B=3']", {"env": ("A=1", "B=3", "HERE=yes")}),
        ("env_files = ['a.env', 'sub/b.env']", {"env": ("A=1", "B=4", "HERE=yes")}),
        ('stop_signal = "int"\nstop_grace = 0', {"stop_signal": "SIGINT", "stop_grace": 0.0}),
        ("stop_signal = 15\nstop_grace = '1m30s'", {"stop_signal": "15", "stop_grace": 90.0}),
        ("timeout = '1h'\nidle_timeout = 30", {"timeout": 3600.0, "idle_timeout": 30.0}),
        ("replicas = 3\ninit = false", {"replicas": 3, "init": False}),
        ("labels = { tier = 'front', n = 1 }", {"labels": {"tier": "front", "n": "1"}}),
        ("restart = 'always'", {"restart": RestartPolicy(RestartKind.ALWAYS)}),
        ("restart = 'on-failure:5'", {"restart": RestartPolicy(RestartKind.ON_FAILURE, 5)}),
        (
            (
                "[service.restart]\npolicy = 'unless-stopped'\ninitial = '100ms'\nmaximum = 5\nfactor = 1.5\njitter = 0\n"
                "reset_after = '1m'\nunhealthy = false"
            ),
            {
                "restart": RestartPolicy(
                    RestartKind.UNLESS_STOPPED, 0, Backoff(0.1, 5.0, 1.5, 0.0, 60.0), unhealthy=False
                )
            },
        ),
        (
            "healthcheck.exec = 'test -e /ok'",
            {"healthcheck": Healthcheck(ExecProbe(("/bin/sh", "-c", "test -e /ok")))},
        ),
        (
            "healthcheck = { exec = ['true'], interval = 1, timeout = '200ms', retries = 5, start_period = '1m' }",
            {"healthcheck": Healthcheck(ExecProbe(("true",)), 1.0, 0.2, 5, 60.0)},
        ),
        (
            "healthcheck = { http = 'http://localhost:80/up?x', status = 204, start_interval = 3 }",
            {"healthcheck": Healthcheck(HttpProbe(80, "/up?x", 204, 204), start_interval=3.0)},
        ),
        ("healthcheck.http = 8080", {"healthcheck": Healthcheck(HttpProbe(8080))}),
        ("healthcheck.tcp = '5432'", {"healthcheck": Healthcheck(TcpProbe(5432))}),
    ],
)
def test_each_key(keys: str, expected: dict[str, object]) -> None:
    given = Given(
        files={"a.env": "# comment\nA=1\nB=2\nHERE\nNOT\n", "sub/b.env": "B=4\n"}, environ={"HERE": "yes"}
    )
    assert service_of(keys, given) == changed(Service("web", "alpine"), expected)


ANY = IPv4Address("0.0.0.0")


@pytest.mark.parametrize(
    ("port", "published"),
    [
        ("8080", [Publish(8080, 8080)]),
        ('"8080"', [Publish(8080, 8080)]),
        ('"8080/udp"', [Publish(8080, 8080, ANY, Protocol.UDP)]),
        ('["8080:80", 9]', [Publish(80, 8080), Publish(9, 9)]),
        ('":80"', [Publish(80, 0)]),
        ('"127.0.0.1::80"', [Publish(80, 0, IPv4Address("127.0.0.1"))]),
        ('"[::1]:8080:80/tcp"', [Publish(80, 8080, IPv6Address("::1"))]),
        ('"10-12"', [Publish(10, 10), Publish(11, 11), Publish(12, 12)]),
        ('"20-21:10-11"', [Publish(10, 20), Publish(11, 21)]),
    ],
)
def test_ports(port: str, published: list[Publish]) -> None:
    found = service_of(f"port = {port}")
    assert found.ports == tuple(published)
    assert found.network == ServiceNetwork(PROFILES["public"])


def test_the_network_follows_from_group_and_ports_until_it_is_said() -> None:
    group = '[[group]]\nname = "g"\nlocal_only = {}'

    def network(keys: str, local: str = "true") -> ServiceNetwork | None:
        return service_of(f"{keys}\n{group.format(local)}").network

    assert network("") is None
    assert network("group = 'g'") == LOCAL
    assert network("group = 'g'", "false") == ServiceNetwork(PROFILES["public"])
    assert network("group = 'g'\nnetwork = 'none'") is None
    assert network("network = 'all'") == ServiceNetwork(PROFILES["all"])
    assert network("network = {}") == ServiceNetwork(PROFILES["public"])
    assert network(
        "group = 'g'\n[service.network]\nrules = ['allow tcp example.com:443']\ningress = ['allow tcp any:80']\n"
        "dns = ['1.1.1.1', 'fd00::1']\ndns_search = ['corp.example']\ndownload = '8mbit'\nupload = '1m'\npackets = 9\nmtu = 1400"
    ) == ServiceNetwork(
        parse_policy("local", ["allow tcp example.com:443"]),
        evolve(parse_policy("all", ["allow tcp any:80"]), default=Action.DENY),
        Dns((IPv4Address("1.1.1.1"), IPv6Address("fd00::1")), ("corp.example",)),
        Limits(1_000_000, MIB, 9),
        1400,
    )


def test_ports_of_a_local_group_are_at_the_loopback_unless_they_say_where() -> None:
    found = service_of('group = "g"\nport = ["80:80", "0.0.0.0:81:81"]\n[[group]]\nname = "g"')
    assert [str(one.address) for one in found.ports] == ["127.0.0.1", "0.0.0.0"]


def test_secrets_are_known_by_where_they_are() -> None:
    found = service_of(
        "secrets = [\n"
        "{ name = 'a', file = 'keys/a' },\n"
        "{ name = 'b', environment = 'B_KEY', variable = 'KEY' },\n"
        "{ name = 'c', command = 'pass show c', target = 'tls/c.pem', mode = '0440', user = 'app', timeout = 5 },\n"
        "]"
    )
    assert found.secrets == (
        Secret("a", SecretFile(Path("/srv/shop/keys/a")), target="/run/secrets/a"),
        Secret("b", SecretEnvironment("B_KEY"), variable="KEY"),
        Secret(
            "c", SecretCommand(("pass", "show", "c"), FOLDER, 5.0), "/run/secrets/tls/c.pem", "", 0o440, "app"
        ),
    )


def test_dependencies_have_conditions() -> None:
    text = """
    [[service]]
    name = "app"
    base = "a"
    depends_on = ["cache", { service = "db", condition = "healthy" }, { service = "migrate", condition = "completed" }]
    [[service]]
    name = "cache"
    base = "a"
    [[service]]
    name = "db"
    base = "a"
    healthcheck.tcp = 1
    [[service]]
    name = "migrate"
    base = "a"
    """
    assert project_of(text).services[0].depends_on == (
        Dependency("cache"),
        Dependency("db", Condition.HEALTHY),
        Dependency("migrate", Condition.COMPLETED),
    )


def test_a_services_own_variables_and_volumes_go_before_its_groups() -> None:
    found = service_of(
        "group = 'g'\nenvs = ['B=own']\ngroup_envs = ['x', 'y']\nvolumes = ['./own:/data']\n"
        "group_volumes = [{ name = 'v', mount = 'part:/data' }, { name = 'w', mount = '/cache' }]\n"
        "[[group]]\nname = 'g'\n[[group.volume]]\nname = 'v'\npath = './shared'\n[[group.volume]]\nname = 'w'\npath = 'cache'\n"
        "[[group.env]]\nname = 'x'\nenvs = ['A=x', 'B=x', 'C=x']\n[[group.env]]\nname = 'y'\nenvs = { C = 'y' }"
    )
    assert found.env == ("A=x", "B=own", "C=y")
    assert found.volumes == (VolumeMount("/cache", "shop.cache"), VolumeMount("/data", "/srv/shop/own"))


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (".:/g", VolumeMount("/g", "/data/shared")),
        ("a/../b:/g:ro", VolumeMount("/g", "/data/shared/b", readonly=True)),
        ("/data/shared/b:/g", VolumeMount("/g", "/data/shared/b")),
        ("/data/shared/b", VolumeMount("/data/shared/b", "/data/shared/b")),
    ],
)
def test_a_group_volume_is_mounted_in_parts(mount: str, expected: VolumeMount) -> None:
    found = service_of(
        f"group = 'g'\ngroup_volumes = [{{ name = 'v', mount = '{mount}' }}]\n"
        "[[group]]\nname = 'g'\n[[group.volume]]\nname = 'v'\npath = '/data/shared'"
    )
    assert found.volumes == (expected,)


def test_data_shared2_is_not_below_data_shared() -> None:
    """monocore 0.2.1 compared paths as texts."""
    text = """
    [[service]]
    name = "a"
    base = "alpine"
    volumes = ["/data/shared:/x"]
    [[service]]
    name = "b"
    base = "alpine"
    volumes = ["/data/shared2:/x"]
    """
    assert [one.volumes[0].source for one in project_of(text).services] == ["/data/shared", "/data/shared2"]


def test_profiles_choose_services() -> None:
    text = """
    [[service]]
    name = "web"
    base = "a"
    port = "80"
    [[service]]
    name = "debug"
    base = "a"
    port = "80"
    profiles = ["dev", "test"]
    depends_on = ["web"]
    """
    plain = project_of(text)
    assert [one.name for one in plain.services] == ["web"]
    assert plain.inactive == ("debug",)
    chosen = project_of(text.replace('"80"\n    profiles', '"81"\n    profiles'), Given(profiles=("test",)))
    assert [one.name for one in chosen.services] == ["web", "debug"]
    assert chosen.inactive == ()


def test_variables_are_filled_in_before_anything_is_read() -> None:
    environ = {"TAG": "17", "CPUS": "2", "NAME": "db"}
    found = project_of(
        "[[services]]\nname = '${NAME}'\nbase = 'postgres:${TAG}'\ncpus = '${CPUS}'\nread_only = '${RO:-true}'\n"
        "command = ['sh', '-c', 'echo $HOME $${TAG}']\n[plugins.x]\nkey = '${kept}'",
        Given(environ=environ),
    ).services[0]
    assert (found.name, found.image, found.cpus, found.readonly) == ("db", "postgres:17", 2, True)
    assert found.command == ("sh", "-c", "echo $HOME ${TAG}")


def test_paths_after_a_scheme_are_relative_to_the_file() -> None:
    assert service_of("").image == "alpine"
    text = '[[service]]\nname = "a"\nbase = "oci-archive:./images/../app.tar"'
    assert project_of(text).services[0].image == "oci-archive:/srv/shop/app.tar"


def test_json_of_the_same_shape() -> None:
    text = """{"project": "p", "service": [{"name": "web", "image": "alpine", "group": "g", "ports": [80]}],
               "groups": [{"name": "g", "local_only": false}]}"""
    found = project_of(text, Given(name="monocore.json"))
    assert same(
        found,
        project_of(
            "project='p'\n[[service]]\nname='web'\nbase='alpine'\ngroup='g'\nport=80\n[[group]]\nname='g'\nlocal_only=false"
        ),
    )


def test_a_document_of_someone_else_uses_no_files_and_no_variables() -> None:
    document = {
        "service": [
            {
                "name": "a",
                "base": "x",
                "env_files": ["/etc/passwd"],
                "extends": {"service": "b", "file": "b.toml"},
            },
            {"name": "c", "base": "x", "envs": ["A=${HOME}", "PATH"]},
        ]
    }
    with pytest.raises(ConfigError) as caught:
        parse_project(document, remote_reading(), folder=Path("/nowhere"), shown="request")
    assert caught.value.brief == "request: 3 problems"
    assert caught.value.problems == (
        "request: service 'a': env_files[0]: file '/etc/passwd' is not read for a request: send what is in it",
        "request: service 'a': extends 'b.toml': file 'b.toml' is not read for a request: send what is in it",
        "request: service 'c': envs[0]: variable HOME is not set: set it, or write ${HOME:-text} for a default",
    )
    secret = {"service": [{"name": "c", "base": "x", "secrets": [{"name": "s", "command": "id"}]}]}
    with pytest.raises(ConfigError) as caught:
        parse_project(secret, remote_reading(), folder=FOLDER, shown="request")
    assert caught.value.brief == (
        "request: service 'c': secrets are read on this host, as its user: a request may not ask for any"
    )
    trusted = parse_project(secret, remote_reading(secrets=True), folder=FOLDER)
    assert [one.name for one in trusted.services[0].secrets] == ["s"]
    fine = parse_project(
        {"service": [{"name": "c", "base": "x", "envs": ["PATH"]}]}, remote_reading(), folder=FOLDER
    )
    assert fine.services[0].env == ()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/srv/Shop", "shop"),
        ("/srv/my shop (2)", "my-shop-2"),
        ("/", "project"),
        ("/x/" + "y" * 40, "y" * 26),
        ("/x/_a", "a"),
    ],
)
def test_a_project_without_a_name_has_its_folders(folder: str, name: str) -> None:
    assert project_name(Path(folder)) == name


def test_files_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.toml").write_text(
        "[[service]]\nname = 'base'\nimage = 'alpine'\nvolumes = ['./x:/x']\nenv_files = ['x.env']"
    )
    (tmp_path / "sub" / "x.env").write_text("X=1\n")
    path = tmp_path / "monocore.toml"
    path.write_bytes(
        b"[[service]]\r\nname = 'a'\r\nextends = { file = 'sub/base.toml', service = 'base' }\r\n"
    )
    found = load_project(path, Reading()).services[0]
    assert found.volumes == (VolumeMount("/x", str(tmp_path / "sub" / "x")),)
    assert found.env == ("X=1",)
    with pytest.raises(NotFound, match=r"no\.toml does not exist"):
        load_project(tmp_path / "no.toml", Reading())


def test_the_example_of_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    (example,) = [
        block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[[service]]" in block
    ]
    project = project_of(example)
    assert project.name == "shop"
    assert [one.name for one in project.services] == ["web", "db", "cache"]
    assert project.warnings == ()


def test_options_of_backends_may_be_lists() -> None:
    text = "[plugins.image]\nimage = []\nother = [{ a = [1] }]\n[[service]]\nname = 'web'\nbase = 'nginx'\n"
    assert [one.name for one in project_of(text).services] == ["web"]
