"""Which daemon a command is for. As Docker decides it: ``--context``, ``--host``, ``MONOCORE_HOST``, ``MONOCORE_CONTEXT``, the current context; else this host's.

Light: every command asks. What a remote daemon needs beside is imported when there is one.
"""

from __future__ import annotations

from collections.abc import Mapping

from monocore_core.client.current import DEFAULT, config_folder, read_current
from monocore_core.client.remote import Remote
from monocore_core.client.trust import Trust
from monocore_core.client.urls import parse_url
from monocore_core.errors import InvalidInput, NotFound

#: Variables that are about reaching a daemon, and no business of the daemon's own.
VARIABLES = (
    "MONOCORE_HOST",
    "MONOCORE_CONTEXT",
    "MONOCORE_TOKEN",
    "MONOCORE_TOKEN_FILE",
    "MONOCORE_TLS_FINGERPRINT",
    "MONOCORE_TLS_CA",
    "MONOCORE_TLS_CERT",
    "MONOCORE_TLS_KEY",
    "MONOCORE_ALLOW_PLAIN_TEXT",
)
#: Bytes of a file with a token.
MAX_TOKEN = 4096


def destination(
    environ: Mapping[str, str],
    *,
    host: str | None = None,
    context: str | None = None,
    token_file: str | None = None,
    home: str | None = None,
) -> Remote | None:
    """The daemon elsewhere that is meant, or None for this host's.

    Args:
        environ: the process's environment.
        host: of the flag, or None.
        context: of the flag, or None.
        token_file: of the flag, or None.
        home: of the flag ``--home``, which is about this host, or None.

    Raises:
        InvalidInput: the flags contradict one another, or a URL is none.
        NotFound: there is no such context, or no such file. ConfigError: others can read a context.
        Unauthorized: the token would be sent where others can read it.
    """
    if host and context:
        raise InvalidInput("--host and --context are one too many", hint="give one of them")
    if home is not None and (host or context not in (None, DEFAULT)):
        raise InvalidInput(
            "--home is of this host, and --host and --context are of another", hint="give one of them"
        )
    if context is None and home is None and (url := host or environ.get("MONOCORE_HOST")):
        return _by_url(url, environ, token_file, "--host" if host else "MONOCORE_HOST")
    name, named_by = (context or DEFAULT, "--context") if home is not None else _named(environ, context)
    if name == DEFAULT:
        if token_file is not None:
            raise InvalidInput(
                "--token-file is for a daemon elsewhere, and this host's is meant",
                hint="name one: --host URL",
            )
        return None
    return _by_context(name, environ, token_file, named_by)


def chosen_context(environ: Mapping[str, str], *, host: str | None, context: str | None) -> str:
    """The name of the context that is meant; ``default`` also where a URL is, which is none."""
    if context is None and (host or environ.get("MONOCORE_HOST")):
        return DEFAULT
    return _named(environ, context)[0]


def _named(environ: Mapping[str, str], context: str | None) -> tuple[str, str]:
    """The name of a context, and what says so."""
    if context is not None:
        return context or DEFAULT, "--context"
    if environ.get("MONOCORE_CONTEXT"):
        return environ["MONOCORE_CONTEXT"], "MONOCORE_CONTEXT"
    return read_current(config_folder(environ)), "the current context"


def _by_url(word: str, environ: Mapping[str, str], token_file: str | None, named_by: str) -> Remote:
    tls = Trust(**{key: environ.get(f"MONOCORE_TLS_{key.upper()}", "") for key in Trust.__slots__})
    token, token_of = _token(environ, token_file)
    return Remote(
        parse_url(word), named_by=named_by, token=token, token_of=token_of, tls=tls, plain=_plain(environ)
    )


def _by_context(name: str, environ: Mapping[str, str], token_file: str | None, named_by: str) -> Remote:
    """A context's own token is for it alone, and goes before the environment's, which may be another daemon's."""
    from monocore_core.client.contexts import Contexts  # noqa: PLC0415 - most commands are for this host

    try:
        found = Contexts.of(environ).get(name)
    except NotFound as error:
        raise NotFound(
            f"{named_by}: {error.brief}", hint="monocore context ls; 'context use default' is this host"
        ) from error
    own = (found.token, f"context {name!r}")
    token, token_of = own if found.token and token_file is None else _token(environ, token_file)
    return Remote(
        parse_url(found.url),
        named_by=f"context {name!r}",
        token=token,
        token_of=token_of,
        tls=found.tls,
        plain=found.plain or _plain(environ),
    )


def _plain(environ: Mapping[str, str]) -> bool:
    return environ.get("MONOCORE_ALLOW_PLAIN_TEXT", "") not in ("", "0")


def _token(environ: Mapping[str, str], token_file: str | None) -> tuple[str, str]:
    """A token, and where it is from."""
    if token_file is None and environ.get("MONOCORE_TOKEN"):
        return environ["MONOCORE_TOKEN"].strip(), "MONOCORE_TOKEN"
    file = token_file or environ.get("MONOCORE_TOKEN_FILE") or ""
    return (read_token(file), f"file {file}") if file else ("", "")


def read_token(file: str) -> str:
    """The token in a file; ``-`` is standard input.

    Raises:
        NotFound: there is no such file. InvalidInput: it cannot be read, or holds none.
    """
    try:
        with open(0 if file == "-" else file, "rb", closefd=file != "-") as stream:
            data = stream.read(MAX_TOKEN + 1)
    except FileNotFoundError:
        raise NotFound(f"token file {file} does not exist") from None
    except OSError as error:
        raise InvalidInput(f"token file {file} cannot be read: {error.strerror}") from error
    token = data.decode("ascii", "replace").strip()
    if not token or len(data) > MAX_TOKEN or len(token.split()) != 1:
        raise InvalidInput(
            f"token file {file} holds no token", hint="what 'monocore token create' printed, and nothing else"
        )
    return token
