"""A stranger's package: made, installed with pip where nothing of the checkout is, chosen, used, removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from monocore_core.testing.samples import busybox_image

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_a_strangers_merger_is_installed_used_and_removed(stranger: Path, tmp_path: Path) -> None:
    def monocore(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "MONOCORE_HOME": str(tmp_path / "home")}
        argv = [str(stranger.with_name("monocore")), *words]
        return subprocess.run(
            argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    made = monocore("plugin", "new", "layer-fancy", "--kind", "merger")
    assert made.returncode == 0, made.stderr
    pip = str(stranger.with_name("pip"))
    subprocess.run([pip, "install", str(tmp_path / "monocore-layer-fancy")], check=True)
    listed = monocore("plugins").stdout
    assert "layer_fancy" in listed
    assert "monocore-layer-fancy 0.1.0" in listed

    (tmp_path / "monocore.toml").write_text(
        '[backends]\nlayer_merger = "layer_fancy"\n\n[plugins.layer_fancy]\nmax_entries = 5000\n'
    )
    layout = tmp_path / "layout"
    layout.mkdir()
    busybox_image().write_layout(layout)
    ran = monocore("run", "-q", f"oci:{layout}", "sh", "-c", "echo it works; cat /etc/motd")
    assert (ran.returncode, ran.stdout) == (0, "it works\nmonocore test image\n"), ran.stderr
    assert "layer_fancy" in monocore("plan", f"oci:{layout}").stdout

    subprocess.run([pip, "uninstall", "-y", "monocore-layer-fancy"], check=True)
    for words in (("run", "-q", f"oci:{layout}", "true"), ("plan", f"oci:{layout}")):
        refused = monocore(*words)
        assert refused.returncode == 125
        assert "layer_fancy" in refused.stderr
        assert "pip install monocore-layer-fancy" in refused.stderr


_HOOK = "from monocore_core.hookspecs import hookimpl\nfrom monocore_core.nonetwork import PROVIDER\n"
_OFFERS = "@hookimpl\ndef monocore_networks():\n    return "
#: Module's text, and words of the line that tells of it.
_BROKEN = {
    "raises": (
        "raise RuntimeError('no such luck')\n",
        "raises (of monocore-raises): import failed: RuntimeError: no such luck",
    ),
    "oldapi": (
        f"{_HOOK}from attrs import evolve\n{_OFFERS}[evolve(PROVIDER, name='oldapi', api=99)]\n",
        "oldapi (of monocore-oldapi): was written for contract version 99",
    ),
    "misspelt": (
        f"{_HOOK}@hookimpl\ndef monocore_netwroks():\n    return []\n",
        "misspelt (of monocore-misspelt): implements the unknown hook monocore_netwroks",
    ),
    "double": (
        f"{_HOOK}{_OFFERS}[PROVIDER]\n",
        "2 plugins offer a network of this name: monocore-core, monocore-double",
    ),
}


def test_broken_plugins_are_shown_and_the_rest_works(stranger: Path, tmp_path: Path) -> None:
    """Installed as pip does, by their metadata."""
    site = tmp_path / "site"
    for name, (text, _) in _BROKEN.items():
        (site / f"monocore_{name}").mkdir(parents=True)
        (site / f"monocore_{name}/__init__.py").write_text(text)
        info = site / f"monocore_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: monocore-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[monocore]\n{name} = monocore_{name}\n")
    environ = {**os.environ, "MONOCORE_HOME": str(tmp_path / "home"), "PYTHONPATH": str(site)}
    argv = [str(stranger.with_name("monocore")), "plugins"]
    shown = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "vmm_qemu" in shown.stdout
    problems = [line for line in shown.stdout.splitlines() if line.startswith("problem: ")]
    assert len(problems) == len(_BROKEN)
    for _, words in _BROKEN.values():
        assert any(words in line for line in problems), shown.stdout
