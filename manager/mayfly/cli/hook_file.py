"""The hooks of a bare repository that hand a push to Mayfly: their text, and how they are put there.

A hook that was there before goes on: it is kept beside, and run first with the same input. Nothing is written
into a repository of somebody else: whoever owns it could have led the pen elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

from mayfly.cli.trouble import Trouble

MARK = "# Of `mayfly pipeline install-hook`"
OWN = ".own"  # what a hook is called that was there before
CHECKS = "pre-receive"


def _text(name: str, command: list[str]) -> str:
    """A hook of that name that runs the command; the one that was there runs first, and may refuse a push."""
    refused = "exit" if name == CHECKS else ":"
    return f"""#!/bin/sh
{MARK}; `mayfly pipeline install-hook --remove` takes it away.
pushed=$(cat)
if [ -x "$0{OWN}" ]; then
  printf '%s\\n' "$pushed" | "$0{OWN}" "$@" || {refused}
fi
printf '%s\\n' "$pushed" | {" ".join(map(quote, command))}
"""


def see_that_it_may_be_written(repository: Path) -> None:
    """``Trouble`` where the repository is somebody else's, or its hooks are a link."""
    hooks = repository / "hooks"
    for place in (repository, hooks):
        try:
            found = place.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Trouble(f"{place} cannot be looked at: {error.strerror}") from error
        if found.st_uid != os.geteuid():
            whose = _name(found.st_uid)
            raise Trouble(
                f"{place} is {whose}'s, and a hook is put there by its owner: "
                f"sudo -u {whose} mayfly pipeline install-hook {quote(str(repository))}"
            )
    if hooks.is_symlink():
        raise Trouble(f"{hooks} is a link: put a hook where it leads to by hand")


def install(repository: Path, name: str, command: list[str]) -> str:
    """Put a hook of that name there that runs the command; what was done, in a word or two."""
    wanted = _text(name, command)
    place = repository / "hooks" / name
    own = place.with_name(name + OWN)
    before = _read(place)
    if before == wanted and os.access(place, os.X_OK):
        return "is there already"
    kept = ""
    if before is not None and MARK not in before:
        if _read(own) is not None:
            raise Trouble(f"{place} is not Mayfly's, and {own} is there too: remove one of them")
        place.rename(own)
        kept = f", after the one that was there ({own.name})"
    place.parent.mkdir(exist_ok=True)
    new = place.with_name(f".{name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        # By its descriptor: where others may write into the hooks, the name may lead elsewhere by now.
        os.fchmod(descriptor, 0o755)
        file.write(wanted)
    new.replace(place)
    return f"is installed{kept}" if before is None or kept else "is as it should be now"


def remove(repository: Path, name: str) -> str | None:
    """Take a hook of Mayfly's away, and give back the one before; ``None`` where there is none."""
    place = repository / "hooks" / name
    found = _read(place)
    if found is None or MARK not in found:
        return None
    own = place.with_name(name + OWN)
    if _read(own) is None:
        place.unlink()
        return "is removed"
    own.replace(place)
    return "is removed, the one before it is back"


def _read(place: Path) -> str | None:
    try:
        with place.open(encoding="utf-8", errors="replace") as file:
            return file.read(64 * 1024)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Trouble(f"{place} cannot be read: {error.strerror}") from error


def _name(uid: int) -> str:
    import pwd  # noqa: PLC0415  rare

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"'#{uid}'"
