"""The heavy side of the command line: verbs that read the configuration or the Engine themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mayfly.cli.trouble import Trouble
from mayfly.edge.config import Loaded
from mayfly.edge.faults import Fault
from mayfly.edge.pipeline_extra import missing
from mayfly.providers.configuration import load


@contextmanager
def translated() -> Iterator[None]:
    """Faults of the edges as the command line's troubles."""
    try:
        yield
    except Fault as fault:
        raise Trouble(str(fault)) from fault


@contextmanager
def pipelines() -> Iterator[None]:
    """The same for verbs that need the extra for pipelines: a ``Trouble`` says what to install."""
    if sentence := missing():
        raise Trouble(sentence)
    with translated():
        yield


def load_config(path: str | None, flags: Mapping[str, str] | None = None) -> Loaded:
    """The configuration, or a ``Trouble`` with every mistake in it."""
    with translated():
        return load(path, flags=flags)
