"""Which images this installation built, and how, as one file of the state directory: ``builds.json``.

An image's labels are its maker's to write, and whoever builds as root does as he is told. So only what
stands here, under the image's own id, is ever built again. It is written where an image was built, by root;
a file that others may write is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mayfly.core.image_build import LONGEST as LONGEST_PLAN
from mayfly.core.image_build import ImageBuild, build_of
from mayfly.edge import state_file
from mayfly.edge.faults import Refused

NAME = "builds.json"
SCHEMA = 1
KEPT = 256  # images, the last ones
_ID = re.compile(r"sha256:[0-9a-f]{64}")


def read(state_dir: Path) -> Mapping[str, ImageBuild]:
    """How each image was built, by its id, the oldest first; none where there is no file.

    ``Refused`` where it cannot be read or is not to be believed.
    """
    place = state_dir / NAME
    text = state_file.content(place)
    if text is None:
        return {}
    _see_that_it_is_ours(place)
    try:
        return _records(json.loads(text))
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Refused(
            f"{place} is damaged: look what happened to it; without it each image is built once more by hand"
        ) from error


def note(state_dir: Path, image: str, plan: ImageBuild) -> None:
    """Remember that the image of that id was built so; a ``Fault`` where that cannot be."""
    if _ID.fullmatch(image) is None or build_of(plan.label()) != plan:
        raise Refused(
            f"{plan.tag} is not remembered, as it was built with more than {LONGEST_PLAN} characters of "
            "arguments, or with what is no image's name, no user's number or no text"
        )
    place = state_dir / NAME
    with state_file.alone(place):
        known = {name: one for name, one in read(state_dir).items() if name != image}
        last = list({**known, image: plan}.items())[-KEPT:]
        rows = [{"image": name, "plan": json.loads(one.label())} for name, one in last]
        document = {"schema": SCHEMA, "builds": rows}
        state_file.write(place, json.dumps(document, indent=1, sort_keys=True) + "\n")


def _see_that_it_is_ours(place: Path) -> None:
    there = place.lstat()
    if there.st_uid not in (0, os.geteuid()) or there.st_mode & 0o022:
        raise Refused(
            f"{place} may be written by others, so nothing is built by it: look what is in it, then "
            f"`sudo chown root {place}` and `sudo chmod 600 {place}`"
        )


def _records(document: Any) -> dict[str, ImageBuild]:
    if document["schema"] != SCHEMA:
        raise ValueError("another schema")
    found: dict[str, ImageBuild] = {}
    for row in document["builds"]:
        plan = build_of(json.dumps(row["plan"]))
        if plan is None or _ID.fullmatch(row["image"]) is None:
            raise ValueError("no build")
        found[row["image"]] = plan
    return found
