"""``monocore commit SANDBOX [IMAGE[:TAG]]``: an image of what a sandbox has changed; its id on standard output, as Docker has it."""

from __future__ import annotations

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import text


def main(words: list[str], options: Globals) -> int:
    """Run the command."""
    parser = Parser(
        "monocore commit",
        "Make an image of a sandbox: its image, and a layer with what it has changed. Volumes and tmpfs are no part of it.",
    )
    parser.add_argument("sandbox", metavar="SANDBOX", help="name, id, or beginning of an id")
    parser.add_argument(
        "image",
        metavar="IMAGE[:TAG]",
        nargs="?",
        default="",
        help="name of the new image (default: none, but its id)",
    )
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="for the image's history")
    parser.add_argument(
        "-a", "--author", default="", metavar="TEXT", help='for example "Ada <ada@example.org>"'
    )
    parser.add_argument(
        "-c",
        "--change",
        action="append",
        default=[],
        metavar="INSTRUCTION",
        help="change the configuration by a line of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL,"
        " USER, VOLUME, WORKDIR; may be repeated",
    )
    add_globals(parser)
    parsed = parser.flags(words, options)
    body = {
        "image": parsed.image,
        "message": parsed.message,
        "author": parsed.author,
        "changes": parsed.change,
    }
    made = reach(options).call("POST", target("sandboxes", parsed.sandbox, "commit"), body, timeout=None)
    print(text(made, "digest"), flush=True)
    return 0
