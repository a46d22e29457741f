"""A pool's authority on its way into pods: the certificates of a file of this host, as an annotation that a
pod has as a file of its own. No object of the namespace's and no right is needed for that.

Only what is a certificate goes there: whoever may look at pods can read it.
"""

from __future__ import annotations

import re
from pathlib import Path

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.model import CA_TARGET
from mayfly.edge.faults import Refused

ANNOTATION = "io.mayfly.ca"
READ = 4 * 1024 * 1024  # bytes of the file
MOST = 128 * 1024  # bytes: all annotations of a pod have 256 KiB
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def authority_of(plan: AgentPlan) -> str | None:
    """The certificates that its agents are to trust, as PEM; ``None``: none of its pool's. ``Refused`` where
    they cannot be had.
    """
    path = next((mount.source for mount in plan.mounts if mount.target == CA_TARGET), None)
    if path is None:
        return None
    what = f'ca {path} of pool "{plan.pool}"'
    try:
        with Path(path).open("rb") as file:
            found = _CERTIFICATE.findall(file.read(READ))
    except OSError as error:
        raise Refused(f"{what} cannot be read: {error.strerror}") from error
    if not found:
        raise Refused(f"{what} holds no certificate: it has to be a PEM file")
    text = b"".join(one + b"\n" for one in found).decode("ascii")
    if len(text) > MOST:
        raise Refused(
            f"{what} has {len(text)} bytes of certificates, and a pod takes {MOST}: leave out those that "
            "images trust anyway"
        )
    return text
