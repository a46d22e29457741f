"""Who is not root, for programs of an agent's that are begun without one."""

from __future__ import annotations

import os


def as_somebody() -> None:
    """Of whoever is begun next: limits of root hold nobody."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(64321)
        os.setuid(64321)
