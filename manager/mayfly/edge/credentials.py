"""Secrets, by reference only: a systemd credential or a file that no one else can read.

A configuration never holds a secret, only where it is found. What is read here is a ``Secret``,
which prints as ``****`` wherever it ends up by mistake; ``reveal`` is the one way to the text.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from mayfly.edge.faults import Refused

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_MAX_BYTES = 64 * 1024
RESTARTS = {"mayfly": ", which costs no job"}  # what a restart of that unit costs


class Secret:
    """A text that does not show itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "****"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not pickled")


def valid_name(name: str) -> bool:
    """Whether systemd could hand over a credential of this name."""
    return _NAME.fullmatch(name) is not None and name not in {".", ".."}


def read(
    reference: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    *,
    unit: str = "mayfly",
) -> Secret:
    """The secret behind ``{"credential": NAME}`` or ``{"file": PATH}``; ``Refused`` if unreadable.

    ``unit`` is the one to which systemd would hand a credential.
    """
    match dict(reference):
        case {"credential": str(name), **rest} if not rest:
            return _from_systemd(name, os.environ if environ is None else environ, unit)
        case {"file": str(path), **rest} if not rest:
            return _from_file(Path(path))
    raise Refused('a secret is { credential = "NAME" } or { file = "/path" }, and nothing else')


def written(reference: Mapping[str, str]) -> float | None:
    """When the file of a secret was written; ``None`` for a credential, which is copied at each start."""
    try:
        return Path(reference["file"]).stat().st_mtime
    except (KeyError, OSError):
        return None


def _from_systemd(name: str, environ: Mapping[str, str], unit: str) -> Secret:
    if not valid_name(name):
        raise Refused(f"{name!r} is not a credential's name: letters, digits, . _ - only")
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise Refused(
            f"credential {name!r} is handed over by systemd only: add LoadCredential={name}:/path "
            f"to {unit}.service, or use {{ file = … }} outside systemd"
        )
    handed = Path(directory) / name
    if not handed.exists() and environ.get("KUBERNETES_SERVICE_HOST"):
        raise Refused(
            f"credential {name!r} was not handed over: add it to the Secret that the manager's pod has at "
            f"{directory}"
        )
    if not handed.exists():
        raise Refused(
            f"credential {name!r} was not handed over: add LoadCredential={name}:/path to {unit}.service "
            f"(`systemctl edit {unit}`), then restart it{RESTARTS.get(unit, '')}"
        )
    return _text_of(handed, f"credential {name!r}")


def _from_file(path: Path) -> Secret:
    what = f"secret file {path}"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Refused(f"{what} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise Refused(f"{what} is not a file")
    if mode & 0o077:
        raise Refused(
            f"{what} can be read by others (mode {stat.S_IMODE(mode):04o}): "
            f"chmod 600 {quote(str(path))}"
        )
    return _text_of(path, what)


def _text_of(path: Path, what: str) -> Secret:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise Refused(f"{what} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise Refused(f"{what} is larger than 64 KiB")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError as error:
        raise Refused(f"{what} is not text") from error
    if not text:
        raise Refused(f"{what} is empty")
    return Secret(text)
