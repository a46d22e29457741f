"""``health``: whether GPUs of this host are fit, as an exit code: for whoever else gives them to jobs.

It asks NVML itself, and the manager, where one runs, for what that has seen before. It changes nothing.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.options import ConfigOption, SocketOption
from mayfly.cli.talk import client, config_path
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.quantities import whole_number

if TYPE_CHECKING:
    from mayfly.cli.client import Client
    from mayfly.core.gpu_checks import CheckTable
    from mayfly.core.gpu_health import Reading

SICK = 1
NOT_KNOWN = 3
PATIENCE = 10.0  # seconds for NVML to answer, where nothing else is said
_NAME = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z/-]+|[0-9]{1,4}")


def health(
    ctx: typer.Context,
    *,
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", metavar="GPU", help="A UUID, or NVML's number; without it, all."),
    ] = None,
    wait: Annotated[
        float,
        typer.Option("--wait", metavar="SECONDS", min=0.1, max=600, help="How long NVML may take."),
    ] = PATIENCE,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Say by the exit code whether GPUs are fit: 0 fit, 1 sick, 3 not known; why stands on stdout."""
    for name in gpu or ():
        if _NAME.fullmatch(name) is None:
            raise Usage(
                f"--gpu {name}: a UUID as `mayfly gpus` shows it (GPU-…, MIG-…), or a number"
            )
    table = _checks(config_path(ctx, config))
    code, text = _judged(gpu or [], client(ctx, socket, config), wait, table)
    if text:
        print(text)
    raise typer.Exit(code)


def _checks(path: str | None) -> CheckTable:
    """What this host's configuration says of the checks; where it has none that can be read, the defaults."""
    from mayfly.core.gpu_checks import CheckTable  # noqa: PLC0415
    from mayfly.edge.faults import Fault  # noqa: PLC0415
    from mayfly.providers.configuration import load  # noqa: PLC0415  pydantic

    with suppress(Fault):
        return CheckTable(load(path).config.host.gpu_checks)
    return CheckTable()


def _judged(names: list[str], manager: Client, wait: float, table: CheckTable) -> tuple[int, str]:
    from mayfly.edge.faults import Fault  # noqa: PLC0415
    from mayfly.edge.gpus import read_once  # noqa: PLC0415  NVML's binding

    try:
        reading = read_once(wait)
    except Fault as fault:
        return NOT_KNOWN, str(fault)
    if reading.problem is not None:
        return NOT_KNOWN, reading.problem
    known = {str(one.index): one.uuid for one in reading.gpus or ()}
    for name in names:
        if whole_number(name) is not None and name not in known:
            return SICK, f"this host has no GPU {name}: NVML shows {len(known)}"
    asked = [known.get(name, name) for name in names] or [*known.values()]
    if not asked:
        return SICK, "NVML shows no GPU on this host"
    found = [_of(uuid, reading, table) for uuid in asked]
    sick = [text for code, text in found if code == SICK]
    unknown = [text for code, text in found if code == NOT_KNOWN]
    if sick or unknown:
        return (SICK, sick[0]) if sick else (NOT_KNOWN, unknown[0])
    told = _by_the_manager(asked, manager)
    return (SICK, told) if told else (0, "")


def _of(uuid: str, reading: Reading, table: CheckTable) -> tuple[int, str]:
    """What NVML shows of one now: whoever is at work on it has nothing to do with that."""
    from mayfly.core.gpu_gate import judge  # noqa: PLC0415
    from mayfly.core.gpu_health import Ours, Tenant  # noqa: PLC0415

    tenant = Tenant((uuid,), since=reading.began, at_work=True)
    verdict = judge(tenant, reading, {}, reading.gpus or (), Ours(), table)
    if verdict.sick is not None:
        return SICK, verdict.sick
    problem = reading.vitals[uuid].problem
    if problem is not None:
        return NOT_KNOWN, problem
    return 0, ""


def _by_the_manager(asked: list[str], manager: Client) -> str:
    """Why the manager holds a slot of these GPUs: it remembers XIDs and counts errors; ``""``: it does not,
    or none runs.
    """
    try:
        document = manager.get("/v1/gpus")
    except Trouble:
        return ""
    for slot in document.get("slots", ()):
        if slot.get("health") == "sick" and not set(asked).isdisjoint(slot.get("gpus", ())):
            return str(slot.get("text", ""))
    return ""
