"""``mayfly init`` looks at the service: what a secret reaches, and whether the pool as it is to be works.

What a fault means is said in one sentence with what to do; nothing is written before this has gone well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mayfly.cli.trouble import Trouble
from mayfly.core.model import HostId, HostSpec, PoolName, PoolSpec, Severity
from mayfly.edge.faults import Fault, Passing, Untrusted
from mayfly.edge.web import ANOTHER
from mayfly.providers import Finding, Package
from mayfly.providers.setting_up import Access, Survey

HERE = " (here: --ca FILE)"  # of an authority that is not trusted
AGAIN = ("; it is asked again", "; it is tried again")  # what a manager does


class Unserved(Trouble):
    """The service does not let the pool be, or does not answer."""

    def __init__(self, message: str, *, untrusted: bool = False, passing: bool = False) -> None:
        super().__init__(message)
        # another authority might help
        self.untrusted = untrusted
        # it did not answer, or not now: what was asked with is not what is wrong
        self.passing = passing


def sentence(fault: Fault) -> str:
    """A fault as whoever sets a pool up is told it."""
    text = str(fault).removesuffix(ANOTHER)
    if isinstance(fault, Untrusted):
        return f"{text}{HERE}"
    if isinstance(fault, Passing):
        return _unreached(text)
    return text


def _unserved(fault: Fault) -> Unserved:
    return Unserved(
        sentence(fault),
        untrusted=isinstance(fault, Untrusted),
        passing=isinstance(fault, Passing),
    )


def _unreached(text: str) -> str:
    for again in AGAIN:
        text = text.removesuffix(again)
    return (
        f"{text}: see whether the address is right and this host gets there (DNS, a firewall, a proxy: "
        "--proxy), and try again"
    )


def surveyed(
    package: Package,
    pool: PoolSpec,
    url: str,
    secret: Mapping[str, str],
    *,
    app: str | None,
    keys: Mapping[str, str],
    trial: bool,
) -> Survey:
    """What there is for that secret; ``Unserved`` says why nobody can tell."""
    from mayfly.providers.installed import guarded  # noqa: PLC0415

    look = package.survey
    if look is None:
        return Survey()
    access = Access(pool, url, secret, app, keys, trial)
    try:
        return guarded(package.name, lambda: look()(access), "cannot look at its service")
    except Fault as fault:
        raise _unserved(fault) from fault


def bare_pool(
    name: str, provider: str, ca: str | None, proxy: str | None, no_proxy: str | None
) -> PoolSpec:
    """A pool that has a name and a way to its service, and nothing else yet."""
    return PoolSpec(PoolName(name), provider, embedded=False, ca=ca, proxy=proxy, no_proxy=no_proxy)


def checked(pool: PoolSpec, host: HostSpec) -> list[Finding]:
    """What the provider says of the pool, short of errors; the first of those is raised as ``Unserved``."""
    from mayfly.providers.installed import guarded, load  # noqa: PLC0415  brings the provider

    with tempfile.TemporaryDirectory(prefix="mayfly-init-") as nothing:
        try:
            provider = load(pool, host, HostId("init"), Path(nothing))
            found = guarded(pool.provider, provider.check, "cannot look at its service")
        except Fault as fault:
            raise _unserved(fault) from fault
    for finding in found:
        if finding.severity is Severity.ERROR:
            raise Unserved(_told(finding), untrusted=finding.untrusted, passing=finding.passing)
    return list(found)


def _told(finding: Finding) -> str:
    """A finding with what to do, where its sentence does not say that itself."""
    if finding.untrusted:
        return f"{finding.text}{HERE}"
    if finding.fix.startswith("# "):
        return f"{finding.text}: {finding.fix.removeprefix('# ')}"
    text = finding.text.removesuffix(ANOTHER)
    return _unreached(text) if finding.passing else text
