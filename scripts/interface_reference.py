"""Write ``docs/reference/`` from the docstrings of the interfaces and of the values they take: ``python -m scripts.interface_reference``."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from attrs import frozen

from monocore_core.interfaces import image_source, layer_merger, network, provider, vmm
from monocore_core.model import image, machine, oci, rootfs
from monocore_core.model import network as network_values

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
#: Of a line of code; the formatter, which writes the code in documents as well, has the same.
_WIDTH = 110
_SECTION = re.compile(r"(Attributes|Args|Raises|Returns):\Z")
_EXAMPLE = re.compile(r"::\n\n((?:(?: {4}.*)?\n)+)")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


@frozen
class Page:
    """One page.

    Attributes:
        title: its heading.
        module: that it is about, with all of its public classes unless ``only`` says which.
        values: module to names of the classes that the interface takes and gives.
        provider: classes of :mod:`monocore_core.interfaces.provider` by which it is offered.
        only: classes of ``module``, when not all.
        contract: to which backends are held.
    """

    title: str
    module: ModuleType
    values: Mapping[ModuleType, Sequence[str]]
    provider: Sequence[str] = ()
    only: Sequence[str] = ()
    contract: str = ""


PAGES: Mapping[str, Page] = {
    "provider": Page(
        "Providers", provider, {}, only=("Interface", "Host", "Problem", "NoOptions", "Provider")
    ),
    "image-source": Page(
        "Image source",
        image_source,
        {oci: ("Platform", "Descriptor", "Manifest")},
        ("ImageSourceProvider", "SourceCapabilities"),
        contract="ImageSourceContract",
    ),
    "layer-merger": Page(
        "Layer merger",
        layer_merger,
        {image: ("Layer",), rootfs: ("DirectoryRoot", "Ownership", "DiskRoot", "DiskFormat", "RootKind")},
        ("LayerMergerProvider", "MergerCapabilities"),
        contract="LayerMergerContract",
    ),
    "network": Page(
        "Network",
        network,
        {
            network_values: (
                "NetworkRequest", "Publish", "Limits", "Dns", "NetworkFeature", "Connection", "AttachmentKind", "NoNetwork", "Tap",
                "UserMode", "GuestNetwork", "NetworkStatus", "Traffic", "Refusal",
            )
        },
        ("NetworkProvider", "NetworkCapabilities"),
        contract="NetworkContract",
    ),
    "vmm": Page(
        "VMM",
        vmm,
        {machine: ("MachineSpec", "Disk", "Share", "MachineExit", "MachineEnd")},
        ("VmmProvider", "VmmCapabilities"),
        contract="VmmContract",
    ),
}  # fmt: skip


def texts() -> Mapping[str, str]:
    """File name to page."""
    return {f"{name}.md": _page(page) for name, page in PAGES.items()}


def classes(module: ModuleType) -> Mapping[str, ast.ClassDef]:
    """The public classes that a module defines, in its order."""
    found = ast.parse(inspect.getsource(module)).body
    return {one.name: one for one in found if isinstance(one, ast.ClassDef) and not one.name.startswith("_")}


def prose(docstring: str) -> str:
    """A docstring as Markdown: paragraphs, sections as lists, examples as code."""
    pieces = _EXAMPLE.split(inspect.cleandoc(docstring) + "\n")
    parts: list[str] = []
    for words, example in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        parts += [_block(block) for block in re.split(r"\n\s*\n", words.strip()) if block]
        if example:
            parts[-1] += ":"
            parts += [_code(inspect.cleandoc("\n" + example))]
    return "\n\n".join(parts)


def _block(block: str) -> str:
    first, *rest = block.splitlines()
    if _SECTION.match(first):
        return f"{first}\n\n" + "\n".join(_entries("\n".join(rest)))
    if rest and set(first) == {"=", " "}:
        return _table(rest)
    return _inline(" ".join(block.split()))


def _entries(text: str) -> Iterator[str]:
    for entry in re.split(r"^(?=\S)", inspect.cleandoc("\n" + text), flags=re.MULTILINE):
        if entry.strip():
            name, colon, words = " ".join(entry.split()).partition(": ")
            names = ", ".join(f"`{one}`" for one in name.split(", "))
            yield f"- {names}: {_inline(words)}" if colon else f"- {_inline(name)}"


def _table(lines: Sequence[str]) -> str:
    rows = [re.split(r"  +", line.strip()) for line in lines if set(line) - {"=", " "}]
    shown = ["| " + " | ".join(map(_inline, row)) + " |" for row in rows]
    return "\n".join([shown[0], "|" + "---|" * len(rows[0]), *shown[1:]])


def _inline(text: str) -> str:
    named = _ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2] if '~' in found[0] else found[1]}`", text)
    return named.replace("``", "`")


def _page(page: Page) -> str:
    path = Path(inspect.getfile(page.module)).relative_to(FOLDER.parents[1])
    written = f"Written from the docstrings of [`{page.module.__name__}`](../../{path}) by `make reference`."
    held = f" Backends are held to [`{page.contract}`](../contracts.md)." if page.contract else ""
    parts = [
        f"# {page.title}",
        f"{written}{held} [Writing a plugin](../writing-a-plugin.md) shows how one is made.",
        prose(inspect.getdoc(page.module) or ""),
    ]
    own = classes(page.module)
    parts += [_class(own[name], page.module) for name in page.only or own]
    if page.provider:
        parts += ["## How it is offered", "See [providers](provider.md) for what all of them have."]
        parts += [_class(classes(provider)[name], provider, level=3) for name in page.provider]
    if page.values:
        parts += ["## Values"]
        for module, names in page.values.items():
            parts += [_class(classes(module)[name], module, level=3) for name in names]
    return "\n\n".join(parts) + "\n"


def _class(node: ast.ClassDef, module: ModuleType, level: int = 2) -> str:
    parts = [f"{'#' * level} `{node.name}`", f"`from {module.__name__} import {node.name}`"]
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    if fields:
        parts += [_code("\n".join(map(_field, fields)))]
    parts += [prose(ast.get_docstring(node) or "")]
    members = list(_members(node.body))
    if members:
        parts += ["\n".join(members)]
    methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    for method in methods:
        if not method.name.startswith("_"):
            parts += [f"{'#' * (level + 1)} `{node.name}.{method.name}`", _code(_signature(method))]
            parts += [prose(ast.get_docstring(method) or "")]
    return "\n\n".join(part for part in parts if part)


def _members(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Of an enumeration: each value, and what the string after it says."""
    for one, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(one, ast.Assign):
            said = after.value if isinstance(after, ast.Expr) else None
            meaning = said.value if isinstance(said, ast.Constant) and isinstance(said.value, str) else ""
            words = f": {_inline(' '.join(meaning.split()))}" if meaning else ""
            yield f"- `{ast.unparse(one.targets[0])}` = `{ast.unparse(one.value)}`{words}"


def _field(node: ast.AnnAssign) -> str:
    value = "" if node.value is None else f" = {_default(node.value)}"
    return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}{value}"


def _default(value: ast.expr) -> str:
    """Of ``field(default=x)`` only the ``x`` is of interest, of ``field(factory=T)`` what it makes."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        for word in value.keywords:
            if word.arg in ("default", "factory"):
                return _source(word.value) + ("()" if word.arg == "factory" else "")
    return _source(value)


def _source(value: ast.expr) -> str:
    """As the formatter writes it."""
    return re.sub(r"'([^'\"]*)'", r'"\1"', ast.unparse(value))


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    head = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    marks = "".join(f"@{ast.unparse(mark)}\n" for mark in node.decorator_list)
    arguments = re.sub(r"(: [^=]+?)=", r"\1 = ", ast.unparse(node.args))
    line = f"{head} {node.name}({arguments}){result}: ..."
    if len(line) > _WIDTH:
        line = f"{head} {node.name}(\n    {arguments}\n){result}: ..."
    return marks + line


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, page_text in texts().items():
        (FOLDER / file_name).write_text(page_text)
