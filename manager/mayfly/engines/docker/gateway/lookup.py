"""What the Engine says of the things that a request names, before it is decided on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from mayfly.core.admission.grant import Grant
from mayfly.core.admission.image_names import was_pulled
from mayfly.core.admission.objects import SPOKEN, Kind, Known, Ref, found, lookups
from mayfly.engines.docker.gateway.engine_connection import (
    DOCUMENT_MOST,
    NOT_REACHED,
    EngineGone,
    asked,
)
from mayfly.engines.docker.gateway.memory import PARSED, Held, Memory

ABREAST = 8  # questions of one agent at once


async def known(
    engine: str,
    refs: Collection[Ref],
    grant: Grant,
    pulled: Collection[str],
    turns: asyncio.Semaphore,
    memory: Memory | None = None,
) -> Mapping[Ref, Known]:
    """Those of the things that are there for this agent; ``EngineGone`` where the Engine does not say.

    ``pulled``: the names of the images that the agent has pulled; ``turns``: of all requests of the agent;
    ``memory``: where each answer is counted until it is read; ``Full`` where there is no room for one.
    """
    there: dict[Ref, Known] = {}
    left = iter(refs)

    async def looking() -> None:
        for ref in left:  # all of these take from one
            async with turns:
                with (memory or Memory(DOCUMENT_MOST * (PARSED + 1) * ABREAST)).held() as held:
                    one = await _one(engine, ref, grant, pulled, held)
            if one is not None:
                there[ref] = one

    several = (looking() for _ in range(min(ABREAST, len(refs))))
    for failed in await asyncio.gather(*several, return_exceptions=True):
        if failed is not None:
            raise failed
    return there


async def _one(
    engine: str, ref: Ref, grant: Grant, pulled: Collection[str], held: Held
) -> Known | None:
    for target in lookups(ref, grant):
        document = await _document(engine, target, held)
        if document is None:
            continue
        container = None
        if ref.kind is Kind.EXEC:
            owner = quote(str(document.get("ContainerID")), safe="")
            container = await _document(engine, f"/v{SPOKEN}/containers/{owner}/json", held)
        one = found(ref, document, grant, container, pulled=was_pulled(document, pulled))
        if one is not None:
            return one
    return None


async def _document(engine: str, target: str, held: Held) -> dict[str, Any] | None:
    """What the Engine tells of one thing; ``None`` where it has no such."""
    status, shown = await asked(engine, "GET", target, held=held)
    if status == 200 and isinstance(shown, dict):
        return shown
    if status >= 500:
        raise EngineGone(NOT_REACHED)
    return None
