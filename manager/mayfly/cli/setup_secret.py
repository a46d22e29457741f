"""The secret that ``mayfly init`` was given, held until it is known that it works.

It is in the memory of this process alone until then: a process that is killed leaves nothing of it behind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TypeVar

from mayfly.cli.trouble import Usage
from mayfly.edge.credentials import Secret

T = TypeVar("T")
LARGEST = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class GivenSecret:
    """A secret, and how this process reads it."""

    # as `edge.credentials` takes it
    reference: Mapping[str, str]
    # what is to be stored; None: it stays in the file where it is
    text: Secret | None = None


def held(text: Secret) -> GivenSecret:
    """A secret that was typed, or came over standard input."""
    descriptor = os.memfd_create("secret", os.MFD_CLOEXEC)
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, text.reveal().encode())
    return GivenSecret({"file": f"/proc/self/fd/{descriptor}"}, text)


def from_bytes(data: bytes, what: str) -> Secret:
    """A secret that was read from somewhere; ``Usage`` where it can be none."""
    if len(data) > LARGEST:
        raise Usage(f"{what} is larger than 64 KiB: that is no token and no key")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise Usage(f"{what} is not text") from None
    if not text:
        raise Usage(f"{what} is empty")
    return Secret(text)


def pasted_key(text: str) -> bool:
    """Whether that is a private key itself, or the beginning of one, as its file has it."""
    return text.startswith("-----BEGIN ")


def from_key_file(path: str) -> Secret:
    """A private key as it was downloaded: it is copied, so it may be readable by others where it is.

    What somebody pasted in place of its path is the key.
    """
    if pasted_key(path):
        return from_bytes(path.encode(), "what was pasted")
    try:
        with Path(path).expanduser().open("rb") as file:
            return from_bytes(file.read(LARGEST + 1), path)
    except OSError as error:
        # A line of a key has no dot; a file that was downloaded does.
        shown = path if "." in path else "what was typed"
        raise Usage(f"{shown} cannot be read: {error.strerror}") from error


def no_key_file(path: str) -> str | None:
    """Why a private key cannot be read from there; ``None``: it can."""
    try:
        from_key_file(path)
    except Usage as trouble:
        return str(trouble)
    return None


def app_of(settings: object) -> str | None:
    """The id of the App whose private key a pool's secret is; ``None``: it is a token."""
    app = getattr(settings, "app", None)
    return str(app.id) if app is not None else None


def pointed(settings: T, at: Mapping[str, str], to: Mapping[str, str]) -> T:
    """A provider's settings with one reference to a secret in another's place, however deep it stands."""
    if not is_dataclass(settings) or isinstance(settings, type):
        return settings
    changed: dict[str, object] = {}
    for one in fields(settings):
        value = getattr(settings, one.name)
        if value == at:
            changed[one.name] = to
        elif is_dataclass(value):
            changed[one.name] = pointed(value, at, to)
    return replace(settings, **changed)
