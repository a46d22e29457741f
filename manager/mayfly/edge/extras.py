"""Packages that only some hosts need, by the names that the installed Mayfly has for them (its extras).

Of Mayfly itself no line here speaks: no index need have it.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from shlex import quote

DISTRIBUTION = "mayfly-ci"
_OF_EXTRA = re.compile(r"^(?P<wanted>[^;]+?)\s*;\s*extra == ['\"](?P<extra>[\w-]+)['\"]$")


def wanted(extra: str) -> tuple[str, ...]:
    """What the extra names, as pip reads it (``PyYAML<7,>=6.0.2``); empty where there is no such extra."""
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # its files without what pip wrote beside them
        return ()
    found = filter(None, map(_OF_EXTRA.match, lines))
    return tuple(one["wanted"] for one in found if one["extra"] == extra)


def install_line(prefix: str, python: str, *packages: str) -> str:
    """What to type to have packages where this Python looks; an environment of uv's has no pip."""
    of_uv = Path(prefix, "uv-receipt.toml").exists()
    named = quote(python)
    pip = f"uv pip install --python {named}" if of_uv else f"{named} -m pip install"
    return f"sudo {pip} {' '.join(map(quote, packages))}"


def extra_line(extra: str) -> str:
    """The same for an extra of this Mayfly; where nobody knows what is in it, what says how Mayfly is had."""
    packages = wanted(extra)
    return install_line(sys.prefix, sys.executable, *packages) if packages else "mayfly help where"
