"""What an agent at its gate has for an environment: nothing that a pool or an image sets, under its own name.

A dynamic loader, a C library, a shell and half of all tools are led by variables (`LD_PRELOAD`,
`GCONV_PATH`, `BASH_ENV`, `TAR_OPTIONS`), perhaps to a file that a job has left in a cache. So those of the
pool and the image bear another name until nothing in the agent is root's any more; `agents/job-environment`
gives them their own. Only what none of root's programs goes by keeps its name all along.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mayfly.core.variables import problem_with_name

# A search path, which the gate puts aside before all else; proxies and authorities, which a service's client
# that is root needs; what the NVIDIA runtime reads.
_HARMLESS = re.compile(
    r"PATH|(?i:(https?|ftp|all|no)_proxy)|"
    r"SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|"
    r"NVIDIA_[A-Z0-9_]+|CUDA_VERSION"
)
# Of what the NVIDIA runtime reads, what asks for no device: an image gets those of its agent's lease alone,
# and not the switches, storage and MIG controls of the host.
_OF_IMAGES = re.compile(r"NVIDIA_(REQUIRE_[A-Z0-9_]+|DISABLE_REQUIRE|DRIVER_CAPABILITIES)")
# What leads the loader, the C library, a shell or tar to a file: of these an engine that cannot see what an
# image sets says that they are empty, which is as if they were not there.
LEADING = (
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_PROFILE_OUTPUT", "GLIBC_TUNABLES"),
    *("GCONV_PATH", "LOCPATH", "NLSPATH", "GETCONF_DIR", "HOSTALIASES", "RESOLV_HOST_CONF"),
    *("MALLOC_TRACE", "BASH_ENV", "ENV", "CDPATH", "TAR_OPTIONS"),
)
NAMES = "MAYFLY_ENV"
ASIDE = "MAYFLY_ENV_"


def at_gate(
    own: Mapping[str, str], job: Mapping[str, str], image: Mapping[str, str]
) -> dict[str, str | None]:
    """The environment that a container is made with; ``None``: what the image sets is taken away.

    ``own`` are the gate's and the lease's, ``job`` what the pool sets for its jobs, ``image`` what the image
    sets: of that, what a person might not set (`MAYFLY_*`, a name that no shell can export) reaches nobody.
    """
    given = {name: value for name, value in image.items() if problem_with_name(name) is None}
    meant = {name: value for name, value in {**given, **job}.items() if name not in own}
    plain = [name for name in meant if (harmless if name in job else harmless_of_an_image)(name)]
    aside = {name: value for name, value in meant.items() if name not in plain}
    taken_away = [name for name in image if not harmless_of_an_image(name)]
    return {
        **dict.fromkeys(taken_away),
        **{name: meant[name] for name in plain},
        **{f"{ASIDE}{name}": value for name, value in aside.items()},
        # Said where there is none as well: what is not said here, an image may say.
        NAMES: " ".join(aside),
        **own,
    }


def harmless_of_an_image(name: str) -> bool:
    """The same, and that it asks the engine for no device either."""
    return harmless(name) and (not name.startswith("NVIDIA_") or bool(_OF_IMAGES.fullmatch(name)))


def harmless(name: str) -> bool:
    """Whether no program that root runs in an agent goes by it."""
    return _HARMLESS.fullmatch(name) is not None
