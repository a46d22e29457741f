"""How an agent image was built, as its label ``io.mayfly.build`` says it, so that it can be built again.

Pure. Version and checksum of the client are not in it: the next build asks for those anew. An image built
FROM one of ours inherits the label, which then names another image than itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

LONGEST = 8192  # characters of a label that is read


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """What a person asked ``images build`` for."""

    name: str  # cpu, wheels, or a CUDA such as 12.8
    provider: str
    flavour: str | None = None
    distribution: str | None = None
    base: str | None = None
    uid: int = 1000
    # further build arguments, but for those of the client's version and archive
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
    """What the label says; ``None`` where it says nothing that is understood: anybody may label an image."""
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
    if not all(isinstance(value, str) or value is None for value in words.values()):
        return None
    if words["name"] is None or words["provider"] is None:
        return None
    if not isinstance(uid, int) or isinstance(uid, bool) or not isinstance(arguments, dict):
        return None
    if not all(isinstance(value, str) for value in arguments.values()):
        return None
    return ImageBuild(
        words["name"],
        words["provider"],
        words["flavour"],
        words["distribution"],
        words["base"],
        uid,
        arguments,
        words["tag"],
    )
