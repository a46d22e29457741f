"""What of the Engine's answers an agent gets: as ``core.admission`` has it, with the ports of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mayfly.core.admission.answers import shown, shown_error
from mayfly.engines.docker.gateway.engine_connection import EngineGone
from mayfly.engines.docker.gateway.engine_words import in_own_words

if TYPE_CHECKING:
    from mayfly.core.admission.grant import Grant
    from mayfly.core.admission.outcome import Answer
    from mayfly.engines.docker.gateway.door import Door
    from mayfly.engines.docker.gateway.published_ports import Given


NOT_LET = (
    "this image is not fetched: registry {registry} has none of that name, does not let pool {pool} have it, "
    "or does not answer; its own words are in Mayfly's log"
)


def shown_to(door: Door, grant: Grant, answer: Answer, document: Any) -> Any:
    """The document as the agent gets it; ``None``: it is left out."""
    listened = {} if door.ports is None else door.ports.listened()
    published = {one: _by_port(given) for one, given in listened.items()}
    return shown(answer, document, grant, published, door.pulled)


def _by_port(given: Given) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for one in given:
        name = f"{one.port}/tcp"
        found[name] = (*found.get(name, ()), one.at)
    return found


def told_failure(door: Door, grant: Grant, status: int, words: str) -> tuple[int, str]:
    """A failure of the Engine as the agent gets it; what is withheld stands in the log."""
    own = in_own_words(words)
    if own is not None:
        return status, own
    status, document = shown_error(status, {"message": words}, grant)
    sentence = str(document["message"])
    if words.replace(grant.prefix, "").strip() != sentence:
        door.withheld(f"the Engine answered {status}: {words}")
    return status, sentence


def told_of_registry(door: Door, grant: Grant, registry: str, words: str) -> str:
    """Why a pull with the pool's credentials failed, as the agent gets it.

    What a registry says of them may tell whose they are; it stands in the log.
    """
    own = in_own_words(words)
    if own is not None:
        return own
    door.withheld(f"a pull from {registry} failed: {words}")
    return NOT_LET.format(registry=registry, pool=grant.pool)


def document_of(body: bytes) -> Any:
    """The JSON of an answer; ``EngineGone`` where it is none."""
    try:
        return json.loads(body)
    except ValueError as error:
        raise EngineGone("the Engine of this host answered what is no JSON") from error


def text_of(document: Any) -> bytes:
    """A line with that document."""
    return json.dumps(document, ensure_ascii=False).encode(errors="replace") + b"\n"


def words_of(body: bytes) -> str:
    """The Engine's own words in a failure; empty where there are none."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
