"""What a pool of Azure Pipelines is set up with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.model import SECRET, UNBAKED


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """The table ``[pool.azure]``, checked."""

    url: str
    agent_pool: str
    # a reference, never the secret
    token: Mapping[str, str] = field(metadata=SECRET)
    # of a service principal, whose secret is then `token`; None: a personal access token
    tenant_id: str | None = field(default=None, metadata=UNBAKED)
    client_id: str | None = field(default=None, metadata=UNBAKED)
    # who gives its tokens; None: Microsoft's public cloud
    authority: str | None = field(default=None, metadata=UNBAKED)
    calls_per_hour: int = field(default=3000, metadata=UNBAKED)
