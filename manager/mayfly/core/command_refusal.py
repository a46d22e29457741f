"""Why a command is not carried out: a value, for whoever asked. What it is answered with is HTTP's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """A sentence, and what a program can tell it by."""

    status: int  # of HTTP
    kind: str
    sentence: str
