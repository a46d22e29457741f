"""What ``mayfly init`` asks a provider: what a token reaches at the service, before any pool is configured.

A survey leaves nothing behind. It takes a few bounded calls; a ``Fault`` says what keeps it from its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mayfly.core.model import PoolSpec

OFFERED = 40  # entries of one list that a person is shown


@dataclass(frozen=True, slots=True)
class Access:
    """How the service is to be reached, as far as it is known."""

    # the pool that is to be: its name, `ca`, `proxy` and `no_proxy`; it has no settings yet
    pool: PoolSpec
    url: str
    # a reference to the secret: of ``app`` the private key, else the token
    secret: Mapping[str, str]
    # the id of an App; None: the secret is a token
    app: str | None = None
    # the keys of the provider's table that were answered already
    keys: Mapping[str, str] = field(default_factory=dict)
    # where only making something tells whether it may be made, it is made, and deleted at once
    trial: bool = True


@dataclass(frozen=True, slots=True)
class Offer:
    """Something at the service that a pool can be set up for."""

    shown: str
    # the keys of the provider's table that name it
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Survey:
    """What is there for whoever the token belongs to."""

    # what was found, in a sentence; "": nothing worth one
    found: str = ""
    # what the offers answer, such as "Which agent pool"; "": nothing is left to be chosen
    question: str = ""
    offers: tuple[Offer, ...] = ()
    # a pool without an answer would not work
    needed: bool = False
    # the key that a person may type instead; "": it is one of the offers
    typed: str = ""


Surveying = Callable[[Access], Survey]
