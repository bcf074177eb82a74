"""Write ``docs/reference/*.md``, a page for each interface, from its docstrings: ``python -m scripts.interface_reference``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from monocore_core.interfaces import image_source, layer_merger, network, provider, vmm

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
#: Page, its title, the interface's module, and the provider and capabilities that belong to it.
PAGES = (
    ("image-source", "Image sources", image_source, ("ImageSourceProvider", "SourceCapabilities")),
    ("layer-merger", "Layer mergers", layer_merger, ("LayerMergerProvider", "MergerCapabilities")),
    ("network", "Networks", network, ("NetworkProvider", "NetworkCapabilities")),
    ("vmm", "VMMs", vmm, ("VmmProvider", "VmmCapabilities")),
)
_CONTRACTS = {
    "image-source": "ImageSourceContract",
    "layer-merger": "LayerMergerContract",
    "network": "NetworkContract",
    "vmm": "VmmContract",
}


def pages() -> dict[Path, str]:
    """Every page's text."""
    return {FOLDER / f"{name}.md": _page(name, title, module, more) for name, title, module, more in PAGES}


def _page(name: str, title: str, module: ModuleType, more: tuple[str, ...]) -> str:
    written = f"Written from the docstrings of `{module.__name__}` by `make reference`."
    held = f"Backends are held to [`{_CONTRACTS[name]}`](../contracts.md)."
    parts = [
        f"# {title}",
        f"{written} {held} [Writing a plugin](../writing-a-plugin.md) shows how one is made.",
        _markdown(inspect.getdoc(module) or ""),
    ]
    for _, kind in _classes(module):
        parts += _class(kind, methods=True)
    for word in more:
        parts += _class(getattr(provider, word), methods=False)
    return "\n\n".join(parts) + "\n"


def _classes(module: ModuleType) -> Iterator[tuple[str, type]]:
    found = inspect.getmembers(module, lambda one: inspect.isclass(one) and one.__module__ == module.__name__)
    yield from sorted(found, key=lambda pair: inspect.getsourcelines(pair[1])[1])


def _class(kind: type, *, methods: bool) -> Iterator[str]:
    yield f"## `{kind.__name__}`"
    yield _markdown(inspect.getdoc(kind) or "")
    for name, member in vars(kind).items() if methods else ():
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        signature = re.sub(r"(\w+\.)+(?=\w)", "", str(inspect.signature(function))).replace("'", "")
        word = "async " if inspect.iscoroutinefunction(function) else ""
        head = name if isinstance(member, property) else f"{word}{name}{signature}"
        yield f"### `{head}`"
        yield _markdown(inspect.getdoc(function) or "")


def _markdown(text: str) -> str:
    """A docstring's roles and literals, and its sections as lists."""
    text = text.replace("``", "`")
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].rsplit('.', 1)[-1]}`", text)
    text = re.sub(r"^Worked example::\n\n((?:    .*\n?|\n)+)", _example, text, flags=re.MULTILINE)
    lines: list[str] = []
    section = False
    for line in text.splitlines():
        if re.fullmatch(r"(Attributes|Args|Returns|Raises|Example):+", line):
            lines += [f"**{line.rstrip(':')}**", ""]
            section = True
        elif section and (match := re.match(r"    (\w[\w, ]*): (.*)", line)):
            lines.append(f"- `{match[1]}`: {match[2]}")
        elif section and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            section = section and not line.strip()
            lines.append(line)
    return "\n".join(lines).strip()


def _example(match: re.Match[str]) -> str:
    body = "\n".join(line[4:] for line in match[1].rstrip().splitlines())
    return f"```text\n{body}\n```\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text)
