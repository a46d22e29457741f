"""The libraries that only pipelines need: an extra, since a host that runs jobs has no use for them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from mayfly.edge.extras import install_line

LIBRARIES = {"jinja2": "Jinja2", "yaml": "PyYAML"}


def missing() -> str | None:
    """What to install where one of them is not there, in one sentence; ``None`` where all are."""
    lacking = [name for module, name in LIBRARIES.items() if find_spec(module) is None]
    if not lacking:
        return None
    return (
        f"a pipeline needs the Python {'library' if len(lacking) == 1 else 'libraries'} "
        f"{' and '.join(lacking)}, beside Mayfly: `{install_line(sys.prefix, sys.executable, *lacking)}`"
    )
