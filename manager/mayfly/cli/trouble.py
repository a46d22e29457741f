"""Why a verb could not do what was asked, with the exit code that scripts rely on.

::

    Trouble         1  degraded, failed, or refused by the manager
    ├── Denied      1  whoever asks may not have that done
    ├── Ended       1  what is to be ended has ended already
    ├── Lacking     1  the manager has not all that it was asked to make something of
    ├── Usage       2  the command line is wrong
    ├── Down        3  the manager does not answer
    ├── NoSuch      4  no such slot, job or pool
    └── TimedOut    5  not within the time given
        └── Busy    5  the manager is up, and had no place for one more client for all that time
"""

from __future__ import annotations


class Trouble(Exception):
    """One sentence for standard error, and how to exit."""

    code = 1


class Denied(Trouble):
    """Whoever asks may not have that done."""


class Ended(Trouble):
    """What is to be ended has ended already."""


class Lacking(Trouble):
    """The manager has not all of it: it is to be sent first."""


class Usage(Trouble):
    """What was typed has no meaning."""

    code = 2


class Down(Trouble):
    """Nobody answers on the control socket."""

    code = 3


class NoSuch(Trouble):
    """There is no slot, job or pool of that name."""

    code = 4


class TimedOut(Trouble):
    """The time that the caller gave is up."""

    code = 5


class Busy(TimedOut):
    """The manager serves as many clients as it may."""
