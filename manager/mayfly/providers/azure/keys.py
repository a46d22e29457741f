"""The keys of ``[pool.azure]``: what each may be, and what is wrong between them."""

from __future__ import annotations

from collections.abc import Iterator

from mayfly.edge.config_types import CallsPerHour, PlainText, Reference, ServiceUrl, Table, key
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Where
from mayfly.providers.azure.settings import AzureSettings

NEEDED = ("url", "agent_pool", "token")
PRINCIPAL = ("tenant_id", "client_id", "authority")


class AzureTable(Table):
    """Azure Pipelines: an agent pool of an organisation, or of a collection of Azure DevOps Server."""

    url: ServiceUrl | None = key(AzureSettings, "url", "the organisation or collection")
    agent_pool: PlainText | None = key(AzureSettings, "agent_pool", "the agent pool")
    token: Reference | None = key(
        AzureSettings,
        "token",
        'where the secret is, { credential = "NAME" } or { file = "/path" }',
    )
    tenant_id: PlainText | None = key(
        AzureSettings,
        "tenant_id",
        "the tenant of a service principal, whose client secret `token` is then",
    )
    client_id: PlainText | None = key(
        AzureSettings, "client_id", "the service principal's application (client) id"
    )
    authority: ServiceUrl | None = key(
        AzureSettings,
        "authority",
        "who gives a service principal its tokens; absent: https://login.microsoftonline.com",
    )
    calls_per_hour: CallsPerHour = key(
        AzureSettings, "calls_per_hour", "how many calls may be made"
    )


def _problems(table: AzureTable) -> Iterator[tuple[Where, str]]:
    said = [name for name in PRINCIPAL if getattr(table, name) is not None]
    for name in ("tenant_id", "client_id") if said else ():
        if getattr(table, name) is None:
            yield (name,), f"is missing; a service principal ({said[0]}) needs it"
    for name in NEEDED:
        if getattr(table, name) is None:
            yield (name,), "is missing; provider azure needs it"


KEYS = ProviderKeys(
    name="azure",
    table=AzureTable,
    settings=AzureSettings,
    problems=_problems,
    flat={name: (name,) for name in (*NEEDED, *PRINCIPAL, "calls_per_hour")},
    ignored=frozenset({"enrolment"}),
)
