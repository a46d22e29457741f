"""The options that verbs share, as Typer describes them."""

from __future__ import annotations

from typing import Annotated

import typer

from mayfly.cli.box_completion import complete_box

SocketOption = Annotated[
    str | None, typer.Option("--socket", metavar="PATH", help="The manager's control socket.")
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="Another configuration file.")
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context", metavar="NAME", help="A cluster of your kubeconfig, and the manager in it."
    ),
]
HOST = "[USER@]BOX"
HOST_HELP = "The manager of another box, over ssh; several by commas."
HostOption = Annotated[
    str | None,
    typer.Option("--host", metavar=HOST, help=HOST_HELP, autocompletion=complete_box),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
FolderArgument = Annotated[
    str, typer.Argument(metavar="[FOLDER]", help="Of a repository; the one you are in.")
]
NoteOption = Annotated[str | None, typer.Option("--note", help="Why, for whoever looks.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="Give up after 90s, 30m, 2h…")
]
