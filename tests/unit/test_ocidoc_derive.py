"""Images that are made of others: instructions that change a configuration, and the documents of an image with a layer more."""

import json

import pytest

from monocore_core.errors import InvalidInput
from monocore_core.model.digest import Digest
from monocore_core.model.oci import Manifest
from monocore_core.ocidoc import parse_config, parse_manifest
from monocore_core.ocidoc.changes import MAX_CHANGES, apply_changes
from monocore_core.ocidoc.derive import Commit, check_commit, derive

OLD, NEW = (Digest.of(b"old"), 5), (Digest.of(b"new"), 7)


@pytest.mark.parametrize(
    ("change", "section"),
    [
        ('CMD ["serve", "-v"]', {"Cmd": ["serve", "-v"]}),
        ("cmd serve -v", {"Cmd": ["/bin/sh", "-c", "serve -v"]}),
        ('CMD ["broken', {"Cmd": ["/bin/sh", "-c", '["broken']}),
        ('ENTRYPOINT ["init"]', {"Entrypoint": ["init"]}),
        ("ENV A=1 B='two words'", {"Env": ["A=1", "B=two words"]}),
        ("ENV A the rest of it", {"Env": ["A=the rest of it"]}),
        ("ENV A=", {"Env": ["A="]}),
        ("EXPOSE 80 53/udp", {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
        ('LABEL a.b=c "d=e f"', {"Labels": {"a.b": "c", "d": "e f"}}),
        ('VOLUME ["/a b"]', {"Volumes": {"/a b": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ("USER app:video", {"User": "app:video"}),
        ("WORKDIR /srv/../data", {"WorkingDir": "/data"}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("ONBUILD RUN make", {"OnBuild": ["RUN make"]}),
    ],
)
def test_one_change(change: str, section: dict[str, object]) -> None:
    assert apply_changes({}, [change]) == section


def test_changes_build_on_what_is_there() -> None:
    before = {"Env": ["PATH=/bin", "A=0"], "Cmd": ["old"], "WorkingDir": "/srv", "Mine": 1}
    after = apply_changes(before, ["ENV A=1", "ENTRYPOINT init", "WORKDIR data", "LABEL a=1", "LABEL b=2"])
    assert after == {
        "Env": ["PATH=/bin", "A=1"],
        "Entrypoint": ["/bin/sh", "-c", "init"],  # for which the old command was not meant
        "WorkingDir": "/srv/data",
        "Labels": {"a": "1", "b": "2"},
        "Mine": 1,
    }
    assert before["Env"] == ["PATH=/bin", "A=0"]


@pytest.mark.parametrize(
    "change",
    [
        "RUN make",
        "HEALTHCHECK NONE",
        "",
        "CMD",
        "ENV A",
        "ENV A=1 B",
        "EXPOSE http",
        "USER a b",
        "ENV A='open",
        "LABEL a=1\nCMD b",
    ],
)
def test_a_change_that_makes_no_sense_is_named(change: str) -> None:
    with pytest.raises(InvalidInput, match="change"):
        check_commit(Commit(changes=(change,)))


def test_too_many_words_are_refused() -> None:
    with pytest.raises(InvalidInput, match="more than"):
        check_commit(Commit(changes=("ENV A=1",) * (MAX_CHANGES + 1)))
    with pytest.raises(InvalidInput, match="the author has"):
        check_commit(Commit(author="a" * 5000))


def test_the_documents_of_an_image_with_a_layer_more() -> None:
    base = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "author": "somebody",
            "container": "of a moment",
            "unknown": {"kept": True},
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [str(OLD[0])]},
            "history": [{"created_by": "ADD"}, {"created_by": "CMD", "empty_layer": True}],
        }
    ).encode()
    said = Commit("why", "Ada", ("CMD serve",))
    derived = derive(base, [OLD], NEW, said, 1_700_000_000.5)
    config = parse_config(derived.config)
    assert config.diff_ids == (OLD[0], NEW[0])
    assert config.cmd == ("/bin/sh", "-c", "serve")
    document = json.loads(derived.config)
    assert document["unknown"] == {"kept": True}
    assert "container" not in document
    assert document["author"] == "Ada"
    assert document["created"] == "2023-11-14T22:13:20.500000Z"
    assert [entry.get("comment") for entry in document["history"]] == [None, None, "why"]
    assert document["history"][-1]["created_by"] == 'monocore commit --change "CMD serve"'
    manifest = parse_manifest(derived.manifest, None)
    assert isinstance(manifest, Manifest)
    assert [(layer.digest, layer.size) for layer in manifest.layers] == [OLD, NEW]
    assert manifest.config.digest == Digest.of(derived.config)
    assert derive(base, [OLD], NEW, said, 1_700_000_000.5) == derived


@pytest.mark.parametrize(
    "history", [None, [], [{"created_by": "1"}, {"created_by": "2"}, {"created_by": "3"}]]
)
def test_a_history_counts_the_layers(history: object) -> None:
    """Readers refuse a history whose entries are not as many as the layers."""
    base: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": history,
    }
    layers = [OLD, (Digest.of(b"second"), 1)]
    derived = derive(json.dumps(base).encode(), layers, NEW, Commit(), 0.0)
    assert len(json.loads(derived.config)["history"]) == 3


def test_an_image_with_the_most_layers_gets_no_more() -> None:
    with pytest.raises(InvalidInput, match="layers already"):
        derive(b"{}", [OLD] * 127, NEW, Commit(), 0.0)
