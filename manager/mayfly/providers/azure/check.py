"""What the doctor is told of an agent pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mayfly.core.model import Severity
from mayfly.edge import credentials
from mayfly.edge.catalogue import architecture
from mayfly.edge.service_json import mapping, text
from mayfly.edge.web import clean
from mayfly.providers import Finding
from mayfly.providers.azure.agent_pool import AgentPool, Entry
from mayfly.providers.azure.client_release import packages
from mayfly.providers.azure.version import Version, version_of

SKEW_WARNED, SKEW_BROKEN = 60.0, 300.0  # a key's signed requests are good for five minutes
TOKEN_OLD = 335.0  # days; a personal access token lives for a year at most
DAY = 86400.0


def findings(pool: AgentPool, token: Mapping[str, str], now: float) -> Iterator[Finding]:
    """What is wrong with the pool, what lags behind, and a token that is about to end."""
    pool.id()
    if not pool.pools("see whether the agent pool may be managed", actionFilter="manage"):
        yield Finding(
            Severity.ERROR,
            f'{pool.whose}: the owner of the token may see the agent pool "{pool.name}" and '
            "not manage it",
            "# at Azure: make them its Administrator, and give the token the scope "
            "Agent Pools (Read & manage)",
        )
    ours = [entry for entry in pool.entries("list the agents") if pool.ours(entry)]
    yield from _lag(pool, ours)
    yield from _skew(pool)
    yield from _age(pool, token, now)


def _lag(pool: AgentPool, ours: list[Entry]) -> Iterator[Finding]:
    fix = "sudo mayfly images refresh --newest"
    for entry in ours:
        update = entry.get("pendingUpdate")
        if update is not None:
            wanted = version_of(mapping(update).get("targetVersion"))
            words = f"{wanted or 'a newer version'} on {clean(text(entry.get('name')))}"
            yield Finding(
                Severity.WARNING,
                f"{pool.whose}: the service wants {words} and may give it no jobs until then",
                fix,
            )
    versions = {found for entry in ours if (found := version_of(entry.get("version")))}
    newest = _newest(pool)
    behind = sorted(version for version in versions if newest is not None and version < newest)
    if behind and newest is not None:
        yield Finding(
            Severity.INFO,
            f"{pool.whose}: its agents are of version {behind[0]}, the service offers {newest}",
            fix,
        )


def _newest(pool: AgentPool) -> Version | None:
    """The newest agent that the service offers; ``None`` where it does not say."""
    return max((version for version, _ in packages(pool, architecture())), default=None)


def _skew(pool: AgentPool) -> Iterator[Finding]:
    skew = pool.web.skew
    if skew is not None and abs(skew) > SKEW_WARNED:
        broken = abs(skew) > SKEW_BROKEN
        order = "behind" if skew > 0 else "ahead of"
        yield Finding(
            Severity.ERROR if broken else Severity.WARNING,
            f"{pool.whose}: this host's clock is {abs(skew):.0f} s {order} the service's, which refuses "
            "an agent's signed requests from 300 s on",
            "sudo timedatectl set-ntp true",
        )


def _age(pool: AgentPool, token: Mapping[str, str], now: float) -> Iterator[Finding]:
    written = credentials.written(token)
    if written is None:
        return
    days = (now - written) / DAY
    if days <= TOKEN_OLD:
        return
    yield Finding(
        Severity.WARNING,
        f"{pool.whose}: its token was written {days:.0f} days ago; the service ends one after a year "
        "at most, or sooner",
        "# make a new one before then, and write it where `token` points: it is read anew at each use",
    )
