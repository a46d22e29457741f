"""Boxes as `--host` names them: destinations of ssh, and jobs and slots that are called by their box too.

Pure. What a person types reaches the command line of another program: nothing passes that ssh could read as
an option, or a shell behind it as anything but a name.
"""

from __future__ import annotations

import re

from mayfly.cli.trouble import Usage
from mayfly.core.plain_text import clean

MOST = 64  # boxes of one command
VARIABLE = "MAYFLY_HOST_SSH"
SCHEME = "ssh://"
# [ssh://][user@]host[:port], as ssh_config names hosts; a user may be one of a domain.
_BOX = re.compile(
    r"(?:ssh://)?(?:[A-Za-z0-9_][A-Za-z0-9._+\\@-]*@)?(?:[A-Za-z0-9_][A-Za-z0-9._-]*|\[?[0-9A-Fa-f:.%]+\]?)(?::[0-9]{1,5})?"
)


def boxes_in(text: str, where: str) -> tuple[str, ...]:
    """The boxes that are named by commas, in their order; ``where`` names the option in what is refused."""
    boxes = tuple(one.strip() for one in text.split(","))
    for box in boxes:
        if len(box) > 255 or _BOX.fullmatch(box) is None:
            raise Usage(
                f"{where}: {clean(box)!r} is no box that ssh could reach: write BOX or user@BOX, several by "
                "commas"
            )
    called = [label(box) for box in boxes]
    twice = [one for number, one in enumerate(called) if one in called[:number]]
    if twice:
        raise Usage(f"{where}: {twice[0]} is there twice")
    if len(boxes) > MOST:
        raise Usage(f"{where}: these are {len(boxes)} boxes, and one command asks {MOST} at most")
    return boxes


def label(box: str) -> str:
    """What a box is called in what is shown: as it was named, without ``ssh://``."""
    return box.removeprefix(SCHEME)


def parted(name: str) -> tuple[str, str]:
    """The box, "" where none is named, and the rest of ``BOX/JOB``; a job's or slot's name has no slash."""
    box, _, rest = name.rpartition("/")
    return box, rest
