"""What a pool of the parcel queue is set up with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.model import SECRET


@dataclass(frozen=True, slots=True)
class ParcelSettings:
    """The table ``[pool.parcel]``, checked."""

    url: str
    queue: str
    # a reference, never the secret
    token: Mapping[str, str] = field(metadata=SECRET)
