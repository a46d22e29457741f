"""The keys of ``[pool.parcel]``."""

from __future__ import annotations

from collections.abc import Iterator

from mayfly_parcel.settings import ParcelSettings

from mayfly.edge.config_types import PlainText, Reference, ServiceUrl, Table, key
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Where


class ParcelTable(Table):
    """The parcel queue."""

    url: ServiceUrl | None = key(ParcelSettings, "url", "where the queue answers")
    queue: PlainText | None = key(ParcelSettings, "queue", "the queue's name")
    token: Reference | None = key(ParcelSettings, "token", "where the secret is")


def _problems(table: ParcelTable) -> Iterator[tuple[Where, str]]:
    for name in ParcelTable.model_fields:
        if getattr(table, name) is None:
            yield (name,), "is missing; provider parcel needs it"


KEYS = ProviderKeys(
    name="parcel",
    images="parcel/agent",
    table=ParcelTable,
    settings=ParcelSettings,
    problems=_problems,
)
