"""Pictures of a terminal as SVG: what a command has printed there, with its colours, in a window of its own.

Made by rich of the true output. A picture that says the same as the one that is there, but for times and ids,
is not written anew: a second run changes what has changed.
"""

from __future__ import annotations

import html
import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

# The form asks a site for its font; each reader's own will do: the width of each piece is said beside it.
FORM = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "font-family: Fira Code, monospace", "font-family: ui-monospace, Consolas, monospace"
)


def terminal(printed: str, title: str, columns: int = 80) -> str:
    """What a terminal of so many columns shows of it, under the command that was typed."""
    console = Console(
        record=True,
        width=columns,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(Text.from_ansi(printed.replace("\r\n", "\n").rstrip("\n")))
    return console.export_svg(title=title, code_format=FORM, unique_id="terminal")


def words(picture: str) -> str:
    """What a reader sees of it, whatever lies between two words."""
    told = html.unescape(" ".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture)))
    return " ".join(told.split())


def said(picture: str) -> str:
    """The same without what differs from one time to the next: numbers, the ids of jobs and agents."""
    told = re.sub(r"\b(t[a-z0-9]{8}|m[a-z0-9]{12})\b", "ID", words(picture))
    return re.sub(r"\d+", "0", told)


def keep(file: Path, picture: str) -> bool:
    """Write it, unless one that says the same is there; whether it was written."""
    if file.exists() and said(file.read_text()) == said(picture):
        return False
    file.write_text(picture)
    return True
