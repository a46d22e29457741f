"""Proposed pools as text that can be put into a configuration: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from mayfly.cli.init_text import PoolAnswers, service_lines
from mayfly.core.pool_proposal import Proposal
from mayfly.core.quantities import written_size
from mayfly.edge.toml_value import toml_value
from mayfly.providers import Package


def proposal_text(found: Sequence[Proposal], provider: Package) -> str:
    """A ``[[pool]]`` each, as ``mayfly config check`` takes them; a comment says what their GPUs are."""
    lines: list[str] = []
    for pool in found:
        lines += [
            f"# {pool.slots * pool.gpus} of {pool.of}",
            "[[pool]]",
            f"name = {toml_value(pool.name)}",
            f"provider = {toml_value(provider.name)}",
            f"slots = {pool.slots}",
            f"gpus = {pool.gpus}",
        ]
        if pool.gpu is not None:
            said = {one.name: getattr(pool.gpu, one.name) for one in fields(pool.gpu)}
            if pool.gpu.min_memory is not None:
                said["min_memory"] = written_size(pool.gpu.min_memory)
            keys = {name: value for name, value in said.items() if value is not None}
            lines.append(f"gpu = {toml_value(keys)}")
        if pool.in_turn:
            lines.append('exclusive = "in turn"  # with the other pools of these GPUs')
        if not provider.embedded:
            hints = provider.hints
            group = (hints.group_default or pool.name) if hints.group_key else None
            wanted = PoolAnswers(provider.name, pool.name, pool.slots, pool.gpus, group=group)
            lines += service_lines(wanted, provider)
        lines.append("")
    return "\n".join(lines)
