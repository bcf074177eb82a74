"""File, then environment, then flags."""

from pathlib import Path

import pytest

from monocore_core.config.load import load_settings
from monocore_core.errors import ConfigError, NotFound


def write(folder: Path, text: str) -> Path:
    path = folder / "monocore.toml"
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_without_anything_there_are_defaults(tmp_path: Path) -> None:
    settings = load_settings(environ={"HOME": str(tmp_path)}, cwd=tmp_path)
    assert settings.backends.vmm == "auto"
    assert settings.source is None
    assert settings.home == Path("~/.monocore").expanduser()


def test_precedence_rises_from_file_to_environment_to_flags(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        home = "sub"
        [backends]
        vmm = "file"
        network = "file"
        layer_merger = "file"
        [plugins.vmm_qemu]
        accel = "file"
        cores = 1
        """,
    )
    environ = {
        "MONOCORE_NETWORK": "environment",
        "MONOCORE_VMM": "environment",
        "MONOCORE_PLUGINS__VMM_QEMU__CORES": "2",
        "MONOCORE_PLUGINS__VMM_QEMU__ACCEL": "tcg",
    }
    overrides = {"backends.vmm": "flag", "plugins.vmm_qemu.cores": "3", "plugins.other.list": '["a"]'}
    settings = load_settings(environ=environ, cwd=tmp_path, overrides=overrides)
    assert (settings.backends.layer_merger, settings.backends.network, settings.backends.vmm) == (
        "file",
        "environment",
        "flag",
    )
    assert settings.plugins == {"vmm_qemu": {"accel": "tcg", "cores": 3}, "other": {"list": ["a"]}}
    assert settings.home == tmp_path / "sub"


def test_the_users_file_is_read_when_the_folder_has_none(tmp_path: Path) -> None:
    config = tmp_path / "config" / "monocore"
    config.mkdir(parents=True)
    write(config, '[backends]\nvmm = "mine"\n')
    settings = load_settings(environ={"XDG_CONFIG_HOME": str(tmp_path / "config")}, cwd=tmp_path)
    assert settings.backends.vmm == "mine"


def test_home_from_the_environment_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ={"MONOCORE_HOME": "h"}, cwd=tmp_path).home == tmp_path / "h"


def test_a_found_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="another user could have written it") as caught:
        load_settings(environ={}, cwd=tmp_path)
    assert caught.value.hint is not None
    assert f"--config {path}" in caught.value.hint
    assert load_settings(environ={}, cwd=tmp_path, file=path).source == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[backend]\n", "backend: unknown key; did you mean 'backends'"),
        ("[backends]\nvm = 'x'\n", "backends.vm: unknown key; did you mean 'vmm'"),
        ("a = [\n", "is not valid TOML"),
        ("a = 1\na = 2\n", "is not valid TOML"),
        ("[plugins]\nvmm_qemu = 3\n", "plugins"),
        ("a = " + "[" * 10_000, "is not valid TOML"),
        ("#" * (1024 * 1024 + 1), "is larger than"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={}, cwd=tmp_path)
    assert str(path) in caught.value.brief
    assert message in " ".join((caught.value.brief, *caught.value.problems))


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        load_settings(environ={"MONOCORE_CONFIG": str(tmp_path / "no")}, cwd=tmp_path)


@pytest.mark.parametrize("path", ["", "a.", ".a", "home.inner"])
def test_a_wrong_override_is_refused(tmp_path: Path, path: str) -> None:
    write(tmp_path, 'home = "x"\n')
    with pytest.raises(ConfigError, match="is not a setting"):
        load_settings(environ={}, cwd=tmp_path, overrides={path: "1"})


def test_what_is_wrong_is_told_of_who_has_set_it(tmp_path: Path) -> None:
    write(tmp_path, "[backends]\nvm = 'x'\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(
            environ={"MONOCORE_VMM": "q"}, cwd=tmp_path, overrides={"backends.foo": "1", "bar.a": "2"}
        )
    lines = "\n".join(caught.value.problems)
    assert caught.value.brief == "3 problems"
    assert f"{tmp_path / 'monocore.toml'}: backends.vm: unknown key" in lines
    assert "a flag: backends.foo: unknown key" in lines
    assert "bar: unknown key" in lines
    found = load_settings(environ={"MONOCORE_PLUGINS__VMM_QEMU__ACCEL": "1"}, cwd=Path("/"))
    assert found.given == {"plugins.vmm_qemu.accel": "MONOCORE_PLUGINS__VMM_QEMU__ACCEL"}
