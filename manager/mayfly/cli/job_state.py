"""The option by which jobs and runs are chosen by how far they are."""

from __future__ import annotations

from typing import Annotated

import typer

StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help="Only those that are queued, running, failed…",
    ),
]
