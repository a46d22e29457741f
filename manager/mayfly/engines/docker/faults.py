"""What the Engine's failures mean, as the three families of ``faults``; pure, and unaware of any
client library.

::

    Passing
    └── Gone         the container is not there (any more): look again
    Refused
    ├── NameTaken    another container has the name, or an end of a network still bears it; ``owner`` is
    │                the container's id, where the Engine said it
    └── NoImage      this host has no image of that name

Every sentence says what was being done, on what, what the Engine said, and the next step.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from mayfly.core.model import ContainerId
from mayfly.core.naming import GENERATION_LENGTH, WITNESSES
from mayfly.core.workspace import Unbrought
from mayfly.edge.faults import Fault, Passing, Refused, Unbringable
from mayfly.engines.protocol import Gone, NameTaken

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoImage(Refused):
    """This host has no image of that name."""


_NAME_TAKEN = re.compile(
    r"name \"?/?([^\s\"]+)\"? is already in use(?: by (?:container )?\"?([0-9a-f]{12,64}))?"
)

# A container that is gone may leave its end of a network behind, for a moment or until the Engine restarts.
_END_LEFT = re.compile(r"endpoint with name (\S+) already exists in network")

UNKILLED = r"could not kill|cannot kill|did not receive an exit event|PID [0-9]+ is zombie"
NO_NETWORK = r"network \S+ not found"

# What the Engine says, the family, and the next step; the first that matches counts.
# The texts are those of Engine 20.10 to 29.
_SAYINGS: tuple[tuple[re.Pattern[str], type[Passing | Refused], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), family, step)
    for pattern, family, step in (
        (
            r"unknown runtime|unknown or invalid runtime",
            Refused,
            "run `nvidia-ctk runtime configure --runtime=docker` and restart the Engine",
        ),
        (
            rf"bind source path does not exist: \S*/{WITNESSES}/[0-9a-z]{{{GENERATION_LENGTH}}}$",
            Refused,
            (
                "the Engine does not see Mayfly's own directory (it has other files, as in a container): "
                "set host.state_dir to one that both see"
            ),
        ),
        (
            r"bind source path does not exist",
            Refused,
            "create the directory, or take it out of the configuration",
        ),
        (r"no such image", NoImage, "run `mayfly images pull` or `mayfly images build`"),
        (
            r"could not select device driver|discover gpu vendor|unresolvable CDI devices",
            Refused,
            "install the NVIDIA Container Toolkit, restart the Engine, see `mayfly doctor`",
        ),
        (
            r"error setting rlimit",
            Refused,
            "the Engine may not raise its limits: lower the pool's `ulimits`, or Mayfly's own (`ulimit`)",
        ),
        (
            r"max-buffer-size option",
            Refused,
            "take max-buffer-size out of log-opts in daemon.json and restart the Engine",
        ),
        (r"requirement error", Refused, "choose an image with an older CUDA, or a newer driver"),
        (
            r"non-overlapping IPv4 address pool|predefined address pools have been fully subnetted",
            Refused,
            "run `docker network prune`, or widen default-address-pools in daemon.json",
        ),
        (
            r"client version \S+ is too (old|new)",
            Refused,
            "upgrade Mayfly or the Engine, whichever is older",
        ),
        (r"no space left on device", Passing, "free some space on the Engine's disk"),
        (NO_NETWORK, Passing, "the network is made again at the next pass"),
        (r"permission denied", Refused, "give Mayfly or the Engine that permission"),
    )
)


# What it says of a tree that it can put nowhere. A name in there is the job's, so what the Engine says itself
# is looked for where no name can be: at the end, where the kernel's word is, or at the beginning.
_UNPACKING = r"^(?:Error processing tar file\([^()]*\): )?"
_UNTAKEN: tuple[tuple[re.Pattern[str], Unbrought], ...] = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r": file name too long$", Unbrought.NAME_TOO_LONG),
        (r": invalid or incomplete multibyte or wide character$", Unbrought.NAME_INVALID),
        (r": too many levels of symbolic links$", Unbrought.LINK),
        (rf"{_UNPACKING}invalid (?:sym|hard)link ", Unbrought.LINK),
        (r" is outside of \S+$", Unbrought.LINK),
        (r": (?:not a|is a) directory$|: file exists$", Unbrought.KIND),
        (rf"{_UNPACKING}cannot overwrite (?:non-)?directory ", Unbrought.KIND),
        (r"archive/tar: [a-z -]+$", Unbrought.NO_ARCHIVE),
    )
)


def untaken(status: int, text: str, doing: str) -> Fault:
    """The fault for an answer that a tree was not unpacked."""
    said = " ".join(text.split()).rstrip(".")
    for pattern, why in _UNTAKEN:
        if pattern.search(said):
            return Unbringable(f"{doing}: {said}", why)
    return answered(status, text, doing)


def no_such_network(fault: Fault) -> bool:
    """Whether a container could not be started because its network is not there."""
    return re.search(NO_NETWORK, str(fault), re.IGNORECASE) is not None


def lives_on(fault: Fault) -> bool:
    """Whether a container could not be removed because the Engine has waited for its end in vain."""
    return re.search(UNKILLED, str(fault), re.IGNORECASE) is not None


def unreachable(base_url: str, doing: str, error: BaseException) -> Fault:
    """The fault for an Engine that was not reached, or stopped answering while asked."""
    cause = _operating_system_error(error)
    code = None if cause is None else cause.errno
    if code in (errno.EACCES, errno.EPERM):
        return Refused(
            f"{doing}: no permission to use the Engine at {base_url};"
            " run as root or join the docker group"
        )
    if code in (errno.EMFILE, errno.ENFILE):
        return Passing(
            f"{doing}: too many files are open; raise the limit (LimitNOFILE= in the unit, `ulimit -n`)"
        )
    if code == errno.ENOENT:
        said = "there is no such socket"
    elif code == errno.ECONNREFUSED:
        said = "nobody listens on the socket"
    elif isinstance(cause, TimeoutError) or "timed out" in str(error).lower():
        return Passing(
            f"{doing}: the Engine at {base_url} did not answer in time;"
            " if it lasts, look at `systemctl status docker`"
        )
    else:
        said = "the connection broke off"
    return Passing(f"{doing}: {said} at {base_url}; if it lasts, look at `systemctl status docker`")


def answered(status: int, text: str, doing: str) -> Fault:
    """The fault for an answer of the Engine that is not a success; ``text`` is its own message."""
    text = " ".join(text.split()).rstrip(".") or f"HTTP {status}"
    taken = _NAME_TAKEN.search(text)
    if taken is not None:
        owner = None if taken[2] is None else ContainerId(taken[2])
        return NameTaken(
            f"{doing}: the name {taken[1]} belongs to another container"
            f" ({'unknown id' if owner is None else owner[:12]}); rename or remove that one",
            taken[1],
            owner,
        )
    left = _END_LEFT.search(text)
    if left is not None:
        return NameTaken(
            f"{doing}: {text}; the end of a container that is gone: another name, or a restart of the Engine",
            left[1],
            None,
        )
    for pattern, family, step in _SAYINGS:
        if pattern.search(text):
            return family(f"{doing}: {text}; {step}")
    if status == 404:
        return Gone(f"{doing}: {text}; the next pass looks again")
    if status == 409 or status >= 500:
        return Passing(f"{doing}: {text}; it is tried again")
    return Refused(f"{doing}: {text}; correct what it names")


def _operating_system_error(error: BaseException) -> OSError | None:
    """The innermost error that came from the operating system, or None; libraries wrap it several
    times.
    """
    found = None
    for inner in _unwrapped(error, set()):
        if isinstance(inner, TimeoutError) or (
            isinstance(inner, OSError) and inner.errno is not None
        ):
            found = inner
    return found


def _unwrapped(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for inner in (*error.args, error.__cause__, error.__context__):
        if isinstance(inner, BaseException):
            yield from _unwrapped(inner, seen)
