"""A container of a person's own in a slot's surroundings: same image, lease, datasets, limits, network.

The slot is drained before, so that its GPUs are free, and given back whatever happens. The container carries
none of the labels of an agent: the manager never takes it for one.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from mayfly.cli.client import Client
from mayfly.cli.examination import hardware_and_survey
from mayfly.cli.standing import first_status, slot_of
from mayfly.cli.trouble import NoSuch, Trouble
from mayfly.cli.verbs_status import await_drained, await_gone
from mayfly.core import bench_lane, naming
from mayfly.core.actions import Prepare
from mayfly.core.agent_plan import AgentPlan, agent_plan
from mayfly.core.container_labels import NOBODYS
from mayfly.core.desire import desired
from mayfly.core.idleness import BY_HAND, CLOSER
from mayfly.core.model import Config, ContainerId, Generation, HostId, SlotSpec, Traits
from mayfly.edge.faults import Fault
from mayfly.edge.gate import frame, words
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.witness import Witnesses
from mayfly.engines import load as load_engine
from mayfly.engines.protocol import Engine

LABEL = "io.mayfly.throwaway"
CANARY_SECONDS = 120.0
LEAVING = (signal.SIGHUP, signal.SIGTERM)
# By the image's own launcher, so that who looks sees what a job sees: user, groups, variables, trust. Only
# its session is the terminal's.
AS_JOB_USER = """
set -eu
die() { shift; printf 'mayfly: %s\\n' "$*" >&2; exit 70; }
_job_path=$PATH
PATH=/usr/sbin:/usr/bin:/sbin:/bin
. /opt/mayfly/launch.sh
job_user
own_parents
ready_trust
job_environment
cd "$HOME" 2>/dev/null || cd /tmp
unset OLDPWD
[ -z "${MAYFLY_ENV:-}" ] || set -- /bin/sh /opt/mayfly/job-environment "$@"
if [ -n "$_job_groups" ]; then set -- --groups "$_job_groups" "$@"; else set -- --clear-groups "$@"; fi
[ -n "$_job_sudo" ] || set -- --no-new-privs "$@"
exec /usr/bin/setpriv --reuid "$_job_uid" --regid "$_job_gid" --inh-caps=-all "$@"
"""


@contextmanager
def emptied(
    manager: Client, slot: str, seconds: float | None, others: Iterable[str] = ()
) -> Iterator[bool]:
    """Keep the slot, and others, without agents; afterwards fill them again, or leave them cordoned as
    somebody had them before.

    They are given back too when the terminal goes away or the command has to end. Yields whether the slot was
    cordoned.
    """
    status = first_status(manager)
    rows = {name: slot_of(status, name) for name in (slot, *others)}
    # Who is configured no more goes by itself, and would stay cordoned for when it is again.
    before = {name: row["cordoned"] for name, row in rows.items() if row.get("configured", True)}
    with _heeded():
        try:
            manager.post("/v1/drain", {"slots": [*before], "force": False})
            await_drained(manager, [*before], seconds)
            await_gone(manager, [name for name in rows if name not in before], seconds)
            manager.post("/v1/cordon", {"slots": [*before], "until": None, "note": BY_HAND})
            yield before[slot] is not None
        finally:
            free = [
                name for name, cordon in before.items() if cordon is None or cordon["by"] == CLOSER
            ]
            if free:
                manager.post("/v1/uncordon", {"slots": free})
            for name, cordon in before.items():
                if name not in free and cordon is not None:
                    kept = {key: cordon[key] for key in ("until", "note")}
                    manager.post("/v1/cordon", {"slots": [name], **kept})


def beside(manager: Client, spec: SlotSpec) -> list[str]:
    """The other slots that have any of the slot's GPUs: in turn with it, or until their last job has ended,
    where they are configured no more.
    """
    if spec.pool.share:
        return []
    rows = first_status(manager)["slots"]
    return [
        str(row["slot"])
        for row in rows
        if row["slot"] != spec.name and not set(spec.lease).isdisjoint(row["gpus"])
    ]


@contextmanager
def _heeded() -> Iterator[None]:
    """End in order, as at ^C, when the terminal goes away or somebody asks the process to end."""

    def leave(number: int, _: FrameType | None) -> None:
        for each in LEAVING:
            signal.signal(each, signal.SIG_IGN)  # a second one must not end the giving back
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in LEAVING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def spec_of(config: Config, slot: str) -> SlotSpec:
    """The slot with image and lease as the manager resolves them; ``Trouble`` where it cannot be filled."""
    hardware, survey = hardware_and_survey(config)
    traits = {pool.name: Traits(embedded=True) for pool in config.pools}
    wanted = desired(config, survey, traits, hardware=hardware)
    spec = next((spec for spec in wanted.slots if spec.name == slot), None)
    if spec is None:
        raise NoSuch(f"the configuration has no slot {slot}")
    if spec.name in wanted.obstacles:
        raise Trouble(wanted.obstacles[spec.name])
    return spec


def shell(config: Config, spec: SlotSpec, command: tuple[str, ...], *, terminal: bool) -> int:
    """Run a command as the job's user in the slot's surroundings; its exit code."""
    with tempfile.TemporaryDirectory(prefix="mayfly-shell-", dir=config.host.state_dir) as home:
        plan, _ = _plan(config, spec, "shell", Path(home))
        words = ("/bin/sh", "-c", AS_JOB_USER, "sh", *command)
        return load_engine(config.host).converse(plan, words, terminal=terminal)


def canary(config: Config, spec: SlotSpec) -> str | None:
    """Take an agent that runs `true` through the slot's gate; what went wrong, or ``None``."""
    with tempfile.TemporaryDirectory(prefix="mayfly-canary-", dir=config.host.state_dir) as home:
        plan, generation = _plan(config, spec, "canary", Path(home))
        engine = load_engine(config.host)
        container = engine.prepare(plan)
        try:
            return _through(engine, container, generation, Witnesses(Path(home)))
        finally:
            engine.let_go(generation)
            with suppress(Fault):
                engine.remove(container)


def _through(
    engine: Engine, container: ContainerId, generation: Generation, witnesses: Witnesses
) -> str | None:
    deadline = time.monotonic() + CANARY_SECONDS
    sent = False
    while time.monotonic() < deadline:
        seen = witnesses.read(generation)
        if seen is not None and seen.exit is not None:
            return None if seen.exit.code == 0 else f"it ended with exit code {seen.exit.code}"
        if seen is not None and seen.ready is not None and not sent:
            job = {"job.argv": words(["true"]), "job.env": words([])}
            engine.open(generation, container, frame(generation, job))
            sent = True
        time.sleep(0.05)
    return f"it did not {'end' if sent else 'reach its gate'} within {CANARY_SECONDS:.0f} s"


def _plan(config: Config, spec: SlotSpec, what: str, home: Path) -> tuple[AgentPlan, Generation]:
    """The container of an agent of the slot, but for its name and labels."""
    generation = Generation(naming.generation(time.time(), 0))
    name = f"{spec.name}-{what}"
    plan = agent_plan(
        Prepare(generation, spec, name, "a person asked for it"),
        host=HostId(HistoryReader(Path(config.host.state_dir)).meta("host") or ""),
        witness=str(Witnesses(home).make(generation)),
        log_max_size=config.host.log_max_size,
    )
    spare = f"{name}.{generation}"
    # Its clocks are nobody's to lock, so nothing is to say that they are.
    told = bench_lane.variables(spec.bench)
    variables = {key: value for key, value in plan.variables.items() if key not in told}
    return replace(
        plan,
        variables=variables,
        labels={**NOBODYS, LABEL: what},
        spare_name=spare,
        removes_itself=False,
    ), generation
