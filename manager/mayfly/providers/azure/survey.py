"""What a token reaches at Azure DevOps: the agent pools that may be managed with it."""

from __future__ import annotations

import time

from mayfly.edge.faults import Refused
from mayfly.edge.service_json import text
from mayfly.edge.web import clean
from mayfly.providers.azure.agent_pool import AgentPool, Entry
from mayfly.providers.azure.settings import AzureSettings
from mayfly.providers.setting_up import OFFERED, Access, Offer, Survey

RIGHTS = (
    "give the token the scope Agent Pools (Read & manage), and make its owner Administrator of the agent "
    "pool (Organization settings, Agent pools, the pool, Security)"
)


def survey(access: Access) -> Survey:
    """The agent pools, where none was named yet; ``Refused`` where none may be managed."""
    named = access.keys.get("agent_pool", "")
    settings = AzureSettings(access.url, named, access.secret)
    service = AgentPool(access.pool, settings, "", time.time, time.sleep)
    service.refuse_plain_http()
    if named:
        return Survey()
    seen = _own(service.listed("list the agent pools"))
    managed = _own(service.listed("list the agent pools to manage", actionFilter="manage"))
    if not seen:
        raise Refused(
            f"{clean(access.url)} has no agent pool of its own, or the owner of the token may see none: make "
            f"one there (Organization settings, Agent pools, Add pool), and {RIGHTS}"
        )
    if not managed:
        raise Refused(
            f"the token may see {_listed(seen)} of {clean(access.url)}, and manage none of them: {RIGHTS}"
        )
    offers = tuple(Offer(clean(name), {"agent_pool": name}) for name in managed[:OFFERED])
    return Survey(
        f"the token may manage {_listed(managed)}",
        "Which agent pool",
        offers,
        needed=True,
        typed="agent_pool",
    )


def _own(pools: list[Entry]) -> list[str]:
    """The names of those that take agents: a hosted one is Microsoft's."""
    return [text(pool.get("name")) for pool in pools if pool.get("isHosted") is not True]


def _listed(names: list[str]) -> str:
    shown = ", ".join(f'"{clean(name)}"' for name in names[:5])
    return f"the agent pools {shown}" + (" and others" if len(names) > 5 else "")
