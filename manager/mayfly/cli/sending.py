"""What ``submit`` sends before the job: a folder, and its standard input."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mayfly.cli.allowance import KEY, at_terminal, most_of
from mayfly.cli.client import Client
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble
from mayfly.core.quantities import spoken_size
from mayfly.edge.pieces import PIECE

# Bytes of standard input that are taken where the manager does not say how many it takes.
INPUT_MOST = 1 << 30


def sent_folder(manager: Client, folder: Path, results: Sequence[str] = ()) -> str:
    """The workspace that the folder is; what it came to is said."""
    from mayfly.cli import workspace  # noqa: PLC0415  only where something is sent: costs 20 ms

    progress = at_terminal(say)
    tree = workspace.of_folder(folder, results, most_of(manager), progress)
    for sentence in tree.left_out:
        say(f"not sent: {sentence}")
    if not tree.entries:
        say(f"there is nothing in {folder} that git would send: the job starts in an empty folder")
    sending = workspace.Sending(progress=progress)
    found = workspace.send(manager, tree, sending)
    say(f"{folder}: {workspace.told(tree, sending)}")
    return found


def sent_input(manager: Client) -> str:
    """The digest of all that standard input has."""
    from mayfly.cli import workspace  # noqa: PLC0415
    from mayfly.core.tree_manifest import Digesting  # noqa: PLC0415

    digesting, most = Digesting(), most_of(manager) or INPUT_MOST
    with tempfile.TemporaryFile() as kept:
        while piece := os.read(sys.stdin.fileno(), PIECE):
            digesting.update(piece)
            if digesting.size > most:
                raise Trouble(
                    f"standard input is longer than {spoken_size(most)}, and a job brings no more ({KEY})"
                )
            kept.write(piece)
        kept.flush()

        def pieces() -> Iterator[bytes]:
            kept.seek(0)
            while piece := kept.read(PIECE):
                yield piece

        return workspace.send_content(manager, pieces, digesting.digest, digesting.size)
