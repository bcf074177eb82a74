"""Running source text: which commands, where, and what came of it. Pure.

Each run has a folder of its own in the sandbox, which is its current folder; what it leaves there is what it made. Python is run by
a small program of ours, which tells the value of the last expression and the error apart from what is printed.
"""

from __future__ import annotations

import uuid
from typing import Final, Literal

from attrs import frozen

from monocore_core.client.sdk.values import Result
from monocore_core.client.tables import NOTHING, Table, inner, parse_table, text
from monocore_core.errors import Corrupt, InvalidInput

Language = Literal["python", "javascript", "shell"]
#: Where runs have their folders, bytes of what Python tells, files that are listed, and folders within folders that are looked into.
PLACE: Final = "/tmp/monocore-code"  # noqa: S108 - in the sandbox, where nobody else is
MAX_TOLD, MAX_FILES, MAX_DEPTH = 4 * 1024 * 1024, 1000, 8
#: Characters of a value's text.
MAX_VALUE: Final = 100_000

_NAMES: Final = {"python": "main.py", "javascript": "main.js", "shell": "main.sh"}
_TOLD: Final = "told.json"
_DRIVER: Final = """
import ast, json, os, sys, traceback
path, told, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(path, encoding="utf-8") as stream:
    source = stream.read()
sys.argv[:] = [path]
sys.path.insert(0, os.getcwd())
space = {"__name__": "__main__", "__file__": path, "__builtins__": __builtins__}
found, status = {}, 0
try:
    tree = ast.parse(source, path)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, path, "exec"), space)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), path, "eval"), space)
        if value is not None:
            found["value"] = repr(value)[:limit]
except SystemExit as left:
    status = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    if status == 1 and not isinstance(left.code, int):
        print(left.code, file=sys.stderr)
except BaseException as error:
    status = 1
    trace = error.__traceback__ and error.__traceback__.tb_next
    words = "".join(traceback.format_exception(type(error), error, trace))
    sys.stderr.write(words)
    found["error"] = {"type": type(error).__name__, "text": str(error)[:limit], "trace": words[-limit:]}
try:
    sys.stdout.flush()
except OSError:
    pass
with open(told, "w", encoding="utf-8", errors="backslashreplace") as stream:
    json.dump(found, stream)
sys.exit(status)
"""


@frozen
class CodeError:
    """An exception that ended the source.

    Attributes:
        type: of the exception.
        text: its words.
        trace: with the lines that led there.
    """

    type: str
    text: str
    trace: str


@frozen
class CodeResult:
    """What came of a run.

    Attributes:
        language: of the source.
        result: status, output, time.
        value: of Python the ``repr`` of the last expression's value, when it is not None; else None.
        error: of Python the exception that ended it, or None.
        folder: where it ran, in the sandbox.
        files: that it made there, relative to the folder, sorted; at most 1000.
    """

    language: Language
    result: Result
    value: str | None
    error: CodeError | None
    folder: str
    files: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether it ended with status 0."""
        return self.result.ok

    @property
    def stdout(self) -> str:
        """What it printed."""
        return self.result.stdout

    @property
    def stderr(self) -> str:
        """What it complained of."""
        return self.result.stderr


@frozen
class CodePlan:
    """How one source is run.

    Attributes:
        language: of the source.
        folder: of the run; its current folder.
        source: the path that the source is written to.
        told: the path that Python's driver writes to, or "".
        command: that runs it.
    """

    language: Language
    folder: str
    source: str
    told: str
    command: tuple[str, ...]

    @classmethod
    def of(cls, language: str) -> CodePlan:
        """For one run.

        Raises:
            InvalidInput: the language is not known.
        """
        base = f"{PLACE}/{uuid.uuid4().hex}"
        # beside the folder, so that what is ours is not among what it made
        source = f"{base}.d/{_NAMES.get(language, '')}"
        told = f"{base}.d/{_TOLD}"
        match language:
            case "python":
                return cls(
                    language, base, source, told, ("python3", "-c", _DRIVER, source, told, str(MAX_VALUE))
                )
            case "javascript":
                return cls(language, base, source, "", ("node", source))
            case "shell":
                return cls(language, base, source, "", ("sh", source))
            case _:
                raise InvalidInput(
                    f"{language!r} is not a language that is run", hint=f"known: {', '.join(_NAMES)}"
                )

    @property
    def beside(self) -> str:
        """The folder of the source, removed afterwards."""
        return f"{self.folder}.d"

    def result(self, result: Result, told: bytes, files: tuple[str, ...]) -> CodeResult:
        """What came of it. ``told`` is what the driver wrote, which the source can forge: it is the sandbox's word."""
        table: Table = NOTHING
        if told.strip() and len(told) <= MAX_TOLD:
            try:
                table = parse_table(told)
            except Corrupt:
                table = NOTHING
        said = inner(table, "error")
        error = CodeError(text(said, "type"), text(said, "text"), text(said, "trace")) if said else None
        value = text(table, "value") if isinstance(table.get("value"), str) else None
        return CodeResult(self.language, result, value, error, self.folder, tuple(sorted(files)))
