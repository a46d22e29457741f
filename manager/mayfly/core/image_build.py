"""How an agent image was built, so that it can be built again.

Pure. Version and checksum of the client are not in it: the next build asks for those anew. It stands in the
image's label ``io.mayfly.build``, for people to read, and in the record of what this installation built
(``edge/build_records.py``). Only that record is ever built by: anybody may label an image, and an image built
FROM one of ours inherits the label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.job_images import NAME as IMAGE

LONGEST = 8192  # characters of a label that is read
# The build arguments that are used again, as the Dockerfile has them. Others are a builder's own, such as the
# front end that it fetches and runs; the client's are asked for anew, and passwords are in proxies.
ARGUMENTS = frozenset({"BASE", "DOCKER", "PACKAGES", "UID", "UV"})
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """What a person asked ``images build`` for."""

    name: str  # cpu, wheels, or a CUDA such as 12.8
    provider: str
    flavour: str | None = None
    distribution: str | None = None
    base: str | None = None
    uid: int = 1000
    # further build arguments; of a build that is remembered, of ``ARGUMENTS`` alone
    arguments: Mapping[str, str] = field(default_factory=dict)
    # what it was called; None: not said yet
    tag: str | None = None

    def label(self) -> str:
        """The label's text; what is as it is by default is left out."""
        said: dict[str, object] = {"name": self.name, "provider": self.provider}
        for key in ("tag", "flavour", "distribution", "base"):
            if (value := getattr(self, key)) is not None:
                said[key] = value
        if self.uid != 1000:
            said["uid"] = self.uid
        if self.arguments:
            said["arguments"] = dict(self.arguments)
        return json.dumps(said, separators=(",", ":"), sort_keys=True)


def build_of(label: str | None) -> ImageBuild | None:
    """What such a text says, word for word what an image's maker wrote; ``None``: nothing understood."""
    if label is None or len(label) > LONGEST:
        return None
    try:
        said = json.loads(label)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    uid, arguments = said.get("uid", 1000), said.get("arguments", {})
    texts = ("name", "provider", "flavour", "distribution", "base", "tag")
    words = {key: said.get(key) for key in texts}
    name, provider = words["name"], words["provider"]
    if name is None or provider is None or not (_is_word(name) and _is_word(provider)):
        return None
    if not all(words[key] is None or _is_word(words[key]) for key in ("flavour", "distribution")):
        return None
    if not all(words[key] is None or _is_image(words[key]) for key in ("base", "tag")):
        return None
    if not isinstance(uid, int) or isinstance(uid, bool) or not 0 < uid < 2**31:
        return None
    if not isinstance(arguments, dict) or not arguments.keys() <= ARGUMENTS:
        return None
    if not all(isinstance(value, str) and value.isprintable() for value in arguments.values()):
        return None
    return ImageBuild(
        name,
        provider,
        words["flavour"],
        words["distribution"],
        words["base"],
        uid,
        arguments,
        words["tag"],
    )


def _is_word(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _is_image(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(IMAGE, value) is not None
