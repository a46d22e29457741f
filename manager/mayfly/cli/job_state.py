"""The option by which jobs and runs are chosen by how far they are."""

from __future__ import annotations

from typing import Annotated

import typer

from mayfly.cli.completion import of_words
from mayfly.core.model import JobState

StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help="Only those that are queued, running, failed…",
        autocompletion=of_words(JobState),
    ),
]
