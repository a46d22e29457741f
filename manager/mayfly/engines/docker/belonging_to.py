"""What an Engine lists of what one agent has made through its door: by the label of its gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from mayfly.core.admission.grant import LABEL_BELONGS
from mayfly.core.model import Generation
from mayfly.core.naming import belonging
from mayfly.engines.docker import wire


def belonging_to(
    base_url: str,
    generation: Generation,
    target: str,
    doing: str,
    timeout: float,
    **filters: list[str],
) -> Any:
    """The Engine's answer to that list, such as ``/networks``, filtered by the label and these filters."""
    wanted = quote(json.dumps({"label": [f"{LABEL_BELONGS}={generation}"], **filters}))
    sign = "&" if "?" in target else "?"
    return wire.get_json(base_url, f"{target}{sign}filters={wanted}", doing, timeout=timeout)


def is_called(container: Mapping[str, Any], generation: Generation) -> bool:
    """Whether it is called as a door calls what it makes: a person's container has the labels of the image
    that it is of.
    """
    names = container.get("Names") or ("",)
    return str(names[0]).startswith(f"/{belonging(generation)}")
