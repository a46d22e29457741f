"""`mayfly run` with some of its limits made short, for tests that would wait for minutes otherwise.

    manager.start(*hurried("core.rosters.ABSENCE=6"), wait=None)

A limit is named by its module below `mayfly` and its own name; its value is in seconds.
"""

from __future__ import annotations

import sys
from importlib import import_module

# A manager that looks twice a second though nothing rings for it.
BRISK = "core.polls.TICK=0.5"
# One that tries again soon what a service has refused.
SOON = ("core.contact.LIST_REST=1", "core.refusals.TRIAL_FIRST=1")


def hurried(*limits: str) -> tuple[str, ...]:
    """The command that runs such a manager; its configuration comes from MAYFLY_CONFIG, as ever."""
    return (sys.executable, __file__, *limits)


def shorten(limit: str) -> None:
    """Set a limit before anybody has read it."""
    name, _, seconds = limit.partition("=")
    module, _, constant = name.rpartition(".")
    home = import_module(f"mayfly.{module}")
    assert isinstance(getattr(home, constant), float), f"there is no limit {name}"
    setattr(home, constant, float(seconds))


if __name__ == "__main__":
    for given in sys.argv[1:]:
        shorten(given)
    from mayfly.cli.app import main

    sys.argv = ["mayfly", "run"]
    main()
