"""The doctor's checks, as data: each judges what an examination found, and says how to mend it.

Pure. A check that cannot be made here is skipped and says why; what was not looked at is never called well.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from shlex import quote
from urllib.parse import urlsplit

from mayfly.cli.exposure import CONTAINERS_WEIGHT, EXPEDITED, Exposure, number_of
from mayfly.cli.image_line import build_line
from mayfly.core import gpu_checks, images, naming
from mayfly.core.admission.grant import Bounds
from mayfly.core.desire import Hardware, ImageSeen, Survey, leases_of, of_another
from mayfly.core.gpu_checks import CheckSeverity, CheckTable
from mayfly.core.injection import choose
from mayfly.core.job_images import allows
from mayfly.core.leases import devices_of
from mayfly.core.model import (
    GATE_PROTOCOL,
    LABEL_CUDA,
    Condition,
    Config,
    EngineLines,
    GatewayHealth,
    PoolName,
    PoolSpec,
    Severity,
)
from mayfly.core.mounts import paths
from mayfly.edge.room import Room
from mayfly.engines.protocol import EngineFacts, Finding
from mayfly.providers.installed import package

FREE_USER = "64000:64000"  # between what Debian gives to people and to services: nobody's
FEW, LONG_PLACE = 6, 100  # of what an image says that one sentence names, and characters of each
WATCHES_PER_SLOT = 64
MOST_NAMESPACES = 2**31 - 1  # that the kernel can be told to let one user have
LEAST_NAMESPACE = 390  # bytes of the smallest, a UTS namespace: six names of 65
UNANSWERED = 10  # seconds that the kernel may remember a packet which was not answered
RUNTIME_LINE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
CDI_LINE = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
NEIGHBOURS = "/etc/tmpfiles.d/mayfly-neighbours.conf"
LITTLE_WEIGHT = 102  # CPU shares of all containers together, with which the Engine goes before them
# With which root in a container is root of the host.
HOSTS_POWERS = frozenset(
    [
        *("SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_BOOT", "DAC_READ_SEARCH"),
        *("BPF", "PERFMON", "MKNOD", "NET_ADMIN", "SYSLOG", "MAC_ADMIN"),
    ]
)
HOSTS_GROUPS = frozenset(["docker", "disk", "lxd", "shadow", "kmem", "sudo", "wheel", "adm"])


class State(StrEnum):
    """What became of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One result of a check; a check of several things has several."""

    state: State
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ServiceExam:
    """What a pool's provider found out about its service."""

    refused: str | None = None  # None: it lets us in
    skipped: str | None = None  # None: it was asked
    findings: tuple[tuple[Severity, str, str], ...] = ()  # with text and fix


@dataclass(frozen=True, slots=True)
class Facts:
    """What an examination found; ``None`` is what could not be looked at."""

    config: Config | None = None
    config_files: tuple[str, ...] = ()
    config_problem: str = ""
    # a sentence for each package beside Mayfly that cannot be used
    unusable: tuple[str, ...] = ()
    engine: EngineFacts | None = None
    engine_problem: str = ""
    engine_addresses: str = EngineLines().addresses
    engine_room: str = EngineLines().room
    engine_look: str = "sudo systemctl status docker"  # where it does not answer
    findings: tuple[Finding, ...] = ()  # of the engine's own
    strangers: tuple[str, ...] = ()  # containers of another Mayfly on this Engine
    # how the gateway fares; None: no pool needs it, or this user may not ask it
    gateway: GatewayHealth | None = None
    survey: Survey | None = None
    job_images: Mapping[str, ImageSeen] = field(default_factory=dict)  # there, and allowed to jobs
    job_images_untold: str = ""  # why there may be more of them; empty: there are none
    hardware: Hardware = field(default_factory=Hardware)
    # what stands in the way of Slurm's giving GPUs, by what was looked at; None: no pool has them from it
    slurm: Mapping[str, str] | None = None
    # whether whoever is no administrator may read profiling counters; None: the driver does not say
    counters: bool | None = None
    char_links: bool | None = None  # whether /dev/char knows the GPUs; None: there are none
    secrets: Mapping[str, str | None] = field(default_factory=dict)  # what is wrong with each
    # credentials of which the manager that runs was handed something else than their files say now
    unhanded: tuple[str, ...] = ()
    services: Mapping[PoolName, ServiceExam] = field(default_factory=dict)
    clock: bool | None = None  # whether it is kept in step; None: nobody can say
    rooms: tuple[Room, ...] = ()  # where Mayfly and the Engine write
    state_problem: str | None = None  # None: all is well
    manager: bool = False  # whether one answers
    health: tuple[Condition, ...] = ()  # its own health lines
    unit: str | None = None  # systemd's word for mayfly.service; None: no systemd here
    exposure: Exposure = field(default_factory=Exposure)
    metadata: bool | None = None  # whether an agent reaches it; None: no agent to ask


Judge = Callable[[Facts], Iterable[Verdict]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the doctor looks at."""

    code: str
    group: str
    title: str
    judge: Judge
    severity: Severity = Severity.ERROR  # of a failure


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check with one of its verdicts."""

    check: Check
    verdict: Verdict


def ok(text: str) -> Verdict:
    """All is well."""
    return Verdict(State.OK, text)


def warn(text: str, fix: str) -> Verdict:
    """It works, and better were better."""
    return Verdict(State.WARN, text, fix)


def fail(text: str, fix: str) -> Verdict:
    """It does not work until somebody mends it."""
    return Verdict(State.FAIL, text, fix)


def skip(text: str) -> Verdict:
    """It could not be looked at."""
    return Verdict(State.SKIP, text)


def results(facts: Facts, checks: Sequence[Check] | None = None) -> list[CheckResult]:
    """What every check says of the facts."""
    return [
        CheckResult(check, verdict)
        for check in (CHECKS if checks is None else checks)
        for verdict in check.judge(facts)
    ]


def exit_code(found: Iterable[CheckResult], *, strict: bool) -> int:
    """1 where something fails or nothing was checked; with ``strict`` also where there is a warning."""
    states = [result.verdict.state for result in found]
    bad = {State.FAIL, State.WARN} if strict else {State.FAIL}
    looked = any(state is not State.SKIP for state in states)
    return 1 if not looked or any(state in bad for state in states) else 0


# -- configuration ---------------------------------------------------------------------------------


def _config(facts: Facts) -> Iterator[Verdict]:
    for sentence in facts.unusable:
        yield warn(sentence, "mayfly doctor   # again, once it is mended or uninstalled")
    if facts.config is None:
        lines = facts.config_problem.splitlines()
        *others, last = lines[:-1] or lines  # the last of several says how many
        yield from (fail(problem, "") for problem in others)
        named = re.search("`(mayfly [a-z ]+)`", last)
        yield fail(last, named[1] if named else "mayfly config check")
        return
    pools, slots = len(facts.config.pools), sum(pool.slots for pool in facts.config.pools)
    yield ok(f"{_many(pools, 'pool')}, {_many(slots, 'slot')}, no mistakes")
    for sentence in facts.config.old_keys:
        yield warn(sentence, "mayfly config migrate --write")


def _secrets(facts: Facts) -> Iterator[Verdict]:
    if facts.config is None:
        yield skip("there is no configuration that can be used")
    elif not facts.secrets:
        yield skip("no pool has a token")
    for name, problem in facts.secrets.items():
        if problem is None:
            yield ok(f"{name} can be read, and by nobody else")
        else:
            yield fail(f"{name}: {problem}", _secret_fix(name, problem))
    for name in facts.unhanded:
        yield warn(
            f"credential {name} was written since the manager was started, which has the old one",
            "sudo systemctl restart mayfly   # which costs no job",
        )


def _secret_fix(name: str, problem: str) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "credential":
        line = f"LoadCredential={rest}:/etc/mayfly/credentials/{rest}"
        return f"sudo systemctl edit mayfly   # and there, under [Service]: {line}"
    path = quote(rest)
    if problem.endswith(os.strerror(errno.ENOENT)):
        return f"sudo install -D -m 600 /dev/stdin {path}   # then the token, Enter and ^D"
    return f"sudo chown root: {path} && sudo chmod 600 {path}"


def _writers(facts: Facts) -> Iterator[Verdict]:
    """Who may change the configuration decides what root runs."""
    files = facts.config_files
    if not files:
        yield skip("there is no configuration that can be used")
    for file in files:
        place = facts.exposure.changed_by.get(file)
        if place is None:
            yield ok(f"{file} can be changed by root alone, or by you")
        else:
            text = f"{file} decides what root runs, and others can change {place}"
            there = quote(place)
            yield warn(text, f"sudo chown root: {there} && sudo chmod go-w {there}")


# -- the Engine ------------------------------------------------------------------------------------


def _engine(facts: Facts) -> Iterator[Verdict]:
    if facts.engine is None:
        look = facts.engine_look
        if "permission" in facts.engine_problem:
            look = "sudo mayfly doctor"
        elif facts.engine_problem.startswith("host.engine: "):
            look = "mayfly config check"
        yield fail(facts.engine_problem, look)
        return
    version = ".".join(str(number) for number in facts.engine.version)
    api = ".".join(str(number) for number in facts.engine.api)
    yield ok(f"{facts.engine.name} {version} answers, API {api}")
    for found in facts.findings:
        yield ok(found.text) if found.well else fail(found.text, found.fix)


def _live_restore(facts: Facts) -> Iterator[Verdict]:
    if facts.engine is None:
        yield skip("no Engine answers")
    elif (cost := facts.engine.restart) is not None:
        yield warn(cost.text, cost.fix)
    else:
        yield ok("jobs outlive a restart of the Engine")


def _removal(facts: Facts) -> Iterator[Verdict]:
    if facts.engine is None:
        yield skip("no Engine answers")
    elif (unsafe := facts.engine.self_removal) is not None:
        forced = [pool.name for pool in _pools(facts) if pool.removal == "engine"]
        if forced:
            yield fail(f"{unsafe.text}, but {', '.join(forced)} have removal = \"engine\"",
                       f"# take `removal` out of {', '.join(forced)}")  # fmt: skip
        else:
            yield ok(unsafe.text)
    elif not facts.engine.capabilities.removes_itself:
        yield ok("Mayfly removes ended containers")
    else:
        yield ok("the Engine removes ended containers, and its restart kills none")


def _strangers(facts: Facts) -> Iterator[Verdict]:
    if facts.engine is None:
        yield skip("no Engine answers")
    elif facts.strangers:
        names = ", ".join(facts.strangers)
        yield fail(
            f"another Mayfly has containers on this Engine: {names}",
            "sudo mayfly run --take-over   # only where that one is gone for good; else drain and stop it",
        )
    else:
        yield ok("no other Mayfly uses this Engine")


def _containers(facts: Facts) -> Iterator[Verdict]:
    pools = ", ".join(pool.name for pool in _pools(facts) if pool.containers)
    if not pools:
        yield skip("no pool has containers = true")
    elif facts.engine is None:
        yield skip("no Engine answers")
    elif not facts.engine.capabilities.gateway:
        why = facts.engine.capabilities.no_gateway
        fix = f"# upgrade Docker, or take `containers` out of {pools}"
        yield fail(f"jobs of pool {pools} get no containers of their own: {why}", fix)
    elif facts.gateway is None:
        yield skip("only root may ask the gateway: sudo mayfly doctor")
    elif facts.gateway.missing:
        fix = "sudo systemctl restart mayfly-gateway"
        yield fail(f"jobs of pool {pools} wait: {facts.gateway.missing}", fix)
    else:
        yield ok(f"the gateway serves the jobs of pool {pools}")
        yield from (fail(one.text, one.fix) for one in facts.gateway.conditions)


def _addresses(facts: Facts) -> Iterator[Verdict]:
    """Each network of a job's takes a range of addresses, of which the Engine has so many for all."""
    pools = [pool for pool in _pools(facts) if pool.containers]
    if not pools:
        yield skip("no pool has containers = true")
        return
    ranges = facts.engine.address_ranges if facts.engine is not None else None
    if ranges is None:
        yield skip("no Engine says how many networks it can give addresses to")
        return
    slots = sum(pool.slots for pool in pools if pool.network != "none")
    own = 1 + len(_pools(facts))  # Docker's own, and one of each pool's
    each = Bounds().networks
    told = f"the Engine has addresses for {_many(ranges, 'network')}"
    if ranges >= own + slots * each:
        yield ok(f"{told}, which is enough for {each} of each job's in {_many(slots, 'slot')}")
        return
    lacks = own + slots > ranges
    need = f"{_many(slots, 'slot')} may take {each} each"
    one = ", and not even one each is there" if lacks else ""
    yield (fail if lacks else warn)(f"{told}, and jobs in {need}{one}", facts.engine_addresses)


# -- GPUs ------------------------------------------------------------------------------------------


def _driver(facts: Facts) -> Iterator[Verdict]:
    if not _wants_gpus(facts):
        yield skip("no pool has GPUs")
    elif facts.hardware.gpus is None:
        yield fail(facts.hardware.unknown, "nvidia-smi")
    elif not facts.hardware.gpus:
        yield fail("the driver answers and finds no GPU", "nvidia-smi -L")
    else:
        yield ok(f"NVML answers: {_many(len(facts.hardware.gpus), 'GPU')}")


def _checks(facts: Facts) -> Iterator[Verdict]:
    """What one reading shows against the GPUs, and which checks this host has turned down."""
    if facts.config is None or not _wants_gpus(facts) or facts.hardware.gpus is None:
        yield skip("no pool has GPUs, or they are not known")
        return
    for one in facts.hardware.findings:
        tell = fail if one.severity is CheckSeverity.HOLD else warn
        yield tell(f"{one.code}: {one.text}", "mayfly gpus")
    table = CheckTable(facts.config.host.gpu_checks)
    down = [
        f"{code} ({table.severity(code)})"
        for code, check in gpu_checks.CHECKS.items()
        if check.severity is CheckSeverity.HOLD and table.severity(code) is not CheckSeverity.HOLD
    ]
    if down:
        yield warn(
            f"by the configuration no slot is held for {', '.join(down)}", "mayfly config show"
        )
    if not down and not facts.hardware.findings:
        yield ok("nothing speaks against a GPU now")


def _leases(facts: Facts) -> Iterator[Verdict]:
    if facts.config is None or not _wants_gpus(facts) or facts.hardware.gpus is None:
        yield skip("no pool has GPUs, or they are not known")
        return
    obstacles = leases_of(facts.config, facts.hardware).obstacles
    for sentence in dict.fromkeys(obstacles.values()):
        yield fail(sentence, "mayfly gpus")
    if not obstacles:
        yield ok("there are GPUs for every slot that asks for some")
    leased = {
        uuid for lease in leases_of(facts.config, facts.hardware).slots.values() for uuid in lease
    }
    devices = [uuid for gpu in facts.hardware.gpus for uuid in devices_of(gpu)]
    left = len([uuid for uuid in devices if uuid not in leased])
    if left:
        told = f"{left} of {_many(len(devices), 'GPU')} {'is' if left == 1 else 'are'} in no slot"
        yield ok(f"{told}: `mayfly doctor --pools` proposes pools for what is here")


SLURM_LOOKS = {
    "tools": "sudo apt-get install --yes slurm-client",
    "controller": "scontrol ping",
    "node": "sinfo -N -o '%N %T %E'",
    "partition": "sinfo -N -o '%N %R %G'",
    "gres": "sudo slurmd -G",
}


def _slurm(facts: Facts) -> Iterator[Verdict]:
    if facts.slurm is None:
        yield skip("no pool has its GPUs from Slurm")
        return
    wrong = {what: problem for what, problem in facts.slurm.items() if problem}
    for what, problem in wrong.items():
        yield fail(problem, SLURM_LOOKS[what])
    if not wrong:
        yield ok("its controller answers, and gives GPUs of this node")


def _injection(facts: Facts) -> Iterator[Verdict]:
    known = facts.survey is not None and facts.hardware.gpus is not None
    if facts.config is None or not known or not _wants_gpus(facts):
        yield skip("no pool has GPUs, or Engine or driver do not answer")
        return
    assert facts.survey is not None and facts.hardware.gpus is not None  # noqa: PT018
    leases = leases_of(facts.config, facts.hardware).slots
    for pool in _pools(facts):
        names = [naming.slot(pool.name, index) for index in range(pool.slots)]
        lease = next((leases[name] for name in names if leases.get(name)), None)
        if lease is None:
            continue
        way = choose(
            pool,
            lease,
            runtimes=facts.survey.runtimes,
            cdi=facts.survey.cdi,
            hook=facts.survey.hook,
            gpus=facts.hardware.gpus,
        )
        if isinstance(way, str):
            stale = "nvidia-ctk cdi generate" in way
            yield fail(f"pool {pool.name}: {way}", CDI_LINE if stale else RUNTIME_LINE)
        else:
            yield ok(f"pool {pool.name}: GPUs get into containers by {way.kind}")


def _counters(facts: Facts) -> Iterator[Verdict]:
    """Whether measured jobs may read profiling counters, which the driver decides for the whole host."""
    measured = [pool.name for pool in _pools(facts) if pool.bench is not None]
    if not measured:
        yield skip("no pool measures its jobs (`bench`)")
    elif facts.counters is None:
        yield skip("the driver does not say who may read profiling counters")
    elif facts.counters:
        yield ok("jobs may read profiling counters")
    else:
        yield warn(
            f"jobs of pool {', '.join(measured)} may not read profiling counters: ncu ends with "
            "ERR_NVGPUCTRPERM",
            "echo options nvidia NVreg_RestrictProfilingToAdminUsers=0 | sudo tee "
            "/etc/modprobe.d/nvidia-counters.conf && sudo update-initramfs -u   # then reboot",
        )


def _vanishing(facts: Facts) -> Iterator[Verdict]:
    """Containers that wait lose their GPUs at `systemctl daemon-reload` (nvidia-container-toolkit #48)."""
    if facts.engine is None or facts.char_links is None:
        yield skip("there is no GPU here, or no Engine answers")
    elif facts.engine.cgroup_driver == "systemd" and not facts.char_links:
        yield warn(
            "waiting containers lose their GPUs at `systemctl daemon-reload` on this host; Mayfly sees that "
            "and replaces them, a running job does not",
            "sudo nvidia-ctk system create-dev-char-symlinks --create-all",
        )
    else:
        yield ok("containers keep their GPUs over `systemctl daemon-reload`")


# -- images, datasets ------------------------------------------------------------------------------


def _images(facts: Facts) -> Iterator[Verdict]:
    if facts.survey is None:
        yield skip("no Engine answers, or there is no configuration")
        return
    if not facts.survey.images:
        yield skip("which images are needed is not known before the GPUs are")
    for reference, seen in facts.survey.images.items():
        yield _image(reference, seen)
    for pool in _pools(facts):
        named = facts.survey.images.get(pool.image or "")
        if named is not None and (why := of_another(pool.image or "", named, pool)) is not None:
            yield fail(why, f"# build {pool.image} FROM mayfly/{pool.provider}:cpu")
        own = {pool.image or "": named} if named is not None else {}
        asked = {name: seen for name, seen in facts.job_images.items() if allows(pool, name)}
        for image, seen in (own | asked).items():
            if uncounted := _uncounted(pool, seen.volumes):
                text = f"what jobs write into {_few(uncounted)} does not count towards `disk`"
                fix = f"# build {image} without its VOLUME, or mount a cache or a tmpfs there"
                yield warn(f"pool {pool.name}: {image}: {text}", fix)

        yield from _without_docker(pool, facts.survey.images)
    if facts.job_images_untold:
        yield skip(
            f"not every image that jobs may ask for was looked at: {facts.job_images_untold}"
        )


def _without_docker(pool: PoolSpec, seen: Mapping[str, ImageSeen | None]) -> Iterator[Verdict]:
    """The images of a pool with containers in which nobody finds a `docker` command to ask for them."""
    found = package(pool.provider)
    if not pool.containers or (found is not None and not found.calls_docker):
        return
    ours = f"mayfly/{pool.provider}:"
    for reference, one in seen.items():
        named = reference == pool.image if pool.image is not None else reference.startswith(ours)
        if named and one is not None and one.docker is False:
            text = f"pool {pool.name}: {reference} has no docker command, by which its jobs get containers"
            yield warn(text, _build(reference))


def _few(places: Sequence[str]) -> str:
    """What an image says, which may be anything, in a sentence."""
    told = ", ".join(place[:LONG_PLACE] for place in places[:FEW])
    return told + (f", … ({len(places)} in all)" if len(places) > FEW else "")


def _image(reference: str, seen: ImageSeen | None) -> Verdict:
    """Whether agents can be made of an image that a pool is of."""
    if seen is None:
        ours = reference.startswith("mayfly/")
        fix = _build(reference) if ours else "sudo mayfly images pull"
        return fail(f"{reference} is not on this Engine", fix)
    if not seen.looked_at:
        return skip(
            f"{seen.id} is pulled where it runs: an agent at its gate shows that it has one"
        )
    if seen.gate is None:
        fix = f"# build {reference} FROM one of the mayfly/ images"
        return fail(f"{reference} has no Mayfly gate", fix)
    if seen.gate != GATE_PROTOCOL:
        what = f"{reference} speaks gate protocol {seen.gate}, this manager {GATE_PROTOCOL}"
        return fail(what, _build(reference))
    return ok(f"{reference} is here, gate protocol {seen.gate}")


def _uncounted(pool: PoolSpec, volumes: Iterable[str]) -> list[str]:
    """The volumes of an image that its pool's limit is not for, and that nothing is mounted over."""
    over = {*(mount.target for mount in pool.mounts), *pool.security.tmpfs}
    return [] if pool.limits.disk is None else sorted(set(volumes) - over)


def _cuda(facts: Facts) -> Iterator[Verdict]:
    """Images that pools name themselves: a person chose these, not Mayfly for the driver."""
    runs = facts.hardware.cuda
    images_seen = facts.survey.images if facts.survey is not None else {}
    named = [
        (pool, images_seen.get(pool.image)) for pool in _pools(facts) if pool.image and pool.gpus
    ]
    told = [(pool, seen.cuda) for pool, seen in named if seen is not None and seen.cuda is not None]
    if runs is None or not told:
        yield skip(
            "no pool with GPUs names an image that tells its CUDA, or the driver does not answer"
        )
        return
    for pool, cuda in told:
        try:
            wanted = images.parse(cuda)
        except ValueError:
            text = f'its label {LABEL_CUDA} says "{cuda}", which is no version such as 12.8'
            yield warn(
                f"pool {pool.name}: {pool.image}: {text}", f"sudo docker inspect {pool.image}"
            )
            continue
        if wanted <= runs:
            yield ok(f"pool {pool.name}: {pool.image} holds CUDA {cuda}, which the driver runs")
        else:
            yield _too_new(pool, wanted, runs, facts.hardware.catalogue)


def _too_new(
    pool: PoolSpec, wanted: images.Version, runs: images.Version, catalogue: images.Catalogue
) -> Verdict:
    cuda = images.text(wanted)
    what = f"pool {pool.name}: {pool.image} holds CUDA {cuda} and the driver runs up to {images.text(runs)}"
    row = catalogue.row(wanted)
    driver = f"driver {row.driver} or newer" if row is not None else "a newer driver"
    fix = (
        f"mayfly images select   # names what this driver runs: build on that, or install {driver}"
    )
    if wanted[0] != runs[0]:
        text = f"{what}: without NVIDIA's forward-compatibility libraries its CUDA programs do not start"
        return warn(text, fix) if pool.cuda_compat else fail(text, fix)
    if pool.cuda_compat:
        return ok(f"{what}: the pool allows minor-version compatibility")
    return warn(f"{what}: they run with the limits of minor-version compatibility", fix)


def _build(reference: str) -> str:
    name, _, tag = reference.rpartition(":")
    if not name.startswith("mayfly/"):
        return f"# build {reference} FROM one of the mayfly/ images again"
    return build_line(name.removeprefix("mayfly/"), tag.removeprefix("cuda"))


def _datasets(facts: Facts) -> Iterator[Verdict]:
    survey = facts.survey
    if survey is None or not any(paths(pool) for pool in _pools(facts)):
        yield skip("no pool has datasets or caches" if survey is not None else "no Engine answers")
        return
    if not survey.engine.on_this_host:
        yield skip("they are where agents run: one that cannot have its own does not start")
    for pool in _pools(facts):
        wrong = survey.mount_problems(pool, _pools(facts))
        for path, problem in wrong.items():
            yield fail(problem, _mount_fix(path, problem))
        for mount in pool.mounts if survey.engine.on_this_host else ():
            if mount.source not in wrong:
                told = f"{mount.source} is a directory, at {mount.target} in its agents"
                yield ok(f"pool {pool.name}: {told}")
        if pool.ca is not None and pool.ca not in wrong:
            yield ok(f"pool {pool.name}: {pool.ca} holds certificates, which its agents trust")


def _mount_fix(path: str, problem: str) -> str:
    if "is not a directory" in problem:
        return f"sudo mkdir -p {quote(path)}   # or mount it there"
    return f"sudo ls -la {quote(path)}"


def _given_away(facts: Facts) -> Iterator[Verdict]:
    """What a pool's keys give its jobs, or people of this host, beside what an agent has."""
    if facts.config is None:
        yield skip("there is no configuration that can be used")
        return
    told = [verdict for pool in _pools(facts) for verdict in _gives(pool, facts)]
    yield from told
    if not told:
        yield ok("no pool gives its jobs, or people of this host, more than an agent")


def _gives(pool: PoolSpec, facts: Facts) -> Iterator[Verdict]:
    exposure = facts.exposure
    here = f'in [[pool]] "{pool.name}"'
    number = number_of(pool.user)
    person = exposure.people.get(number) if number is not None else None
    engine = facts.engine
    remapped = engine is not None and engine.remaps_users and pool.security.userns is None
    if remapped:
        person = None
    if person is not None:
        fix = f'# user = "{FREE_USER}" {here}, and chown its caches to {FREE_USER}'
        if not pool.embedded:
            fix = "# let the Engine remap users: userns-remap in /etc/docker/daemon.json"
        who = f"number {number}, which is {person}'s on this host: {person}"
        yield warn(f"pool {pool.name}: jobs have {who} can read their secrets and files", fix)
    strong = [name for name in pool.cap_add if pool.sudo and name in HOSTS_POWERS]
    if strong:
        text = f"with sudo, {', '.join(strong)} can make a job root of this host"
        yield warn(f"pool {pool.name}: {text}", f"# take that out of cap_add {here}")
    groups = [name for name in pool.groups if name in HOSTS_GROUPS]
    if groups:
        text = f"who is in {', '.join(groups)} is root wherever what it owns can be reached"
        yield warn(f"pool {pool.name}: {text}", f"# take that out of groups {here}")
    root = None if remapped else _root_in_agents(pool)
    raised = ("a job", person) if root is None else (root, "root")
    for cache in pool.caches:
        if raised[1] is not None and cache.source in exposure.raising:
            text = (
                f"a set-user-id program that {raised[0]} leaves in {cache.source} makes others here"
                f" {raised[1]}"
            )
            how = "nosuid,nodev" if pool.containers else "nosuid"
            fix = (
                f"sudo chmod 700 {quote(str(PurePath(cache.source).parent))}   # or mount it {how}"
            )
            yield warn(f"pool {pool.name}: {text}", fix)
    for mount in pool.mounts:
        if (place := exposure.changed_by.get(mount.source)) is not None:
            text = f"who can change {place} decides what agents find at {mount.target}"
            fix = f"ls -ld {quote(place)}   # a directory of root's is to be preferred"
            yield warn(f"pool {pool.name}: {text}", fix)


def _root_in_agents(pool: PoolSpec) -> str | None:
    """Who can leave files of root's in its caches; ``None``: nobody but Mayfly's own gate is root there."""
    if pool.sudo or pool.containers:
        return "a job"
    for image in filter(None, (pool.image, *pool.job_images)):
        if not image.startswith("mayfly/"):
            return f"{image}, whose gate is root,"
    return None


def _watches(facts: Facts) -> Iterator[Verdict]:
    """Agents of one number share what the kernel counts by user; some services' clients die without."""
    have = facts.exposure.inotify
    slots = sum(pool.slots for pool in _pools(facts))
    if have is None or not slots:
        yield skip("there are no slots, or the kernel does not say")
    elif have < slots * WATCHES_PER_SLOT:
        text = f"{have} inotify instances for {_many(slots, 'slot')}: one job can leave the others none"
        line = f"fs.inotify.max_user_instances={slots * WATCHES_PER_SLOT}"
        yield warn(
            text, f"echo {line} | sudo tee /etc/sysctl.d/60-mayfly.conf && sudo sysctl --system"
        )
    else:
        yield ok(f"{have} inotify instances for {_many(slots, 'slot')}")


def _connections(facts: Facts) -> Iterator[Verdict]:
    """The Engine reads the kernel's table of connections whole for each container with its own network."""
    seconds = facts.exposure.unanswered
    reads = any(
        one.sandbox == "job" and one.network not in ("none", "host") for one in _pools(facts)
    )
    sends = any(not one.embedded and one.network != "none" for one in _pools(facts))
    if seconds is None or not reads:
        yield skip("no pool's agents have networks of their own, or the kernel does not say")
    elif not sends:
        yield skip("no service gives jobs to this host that could send packets without end")
    elif seconds > UNANSWERED:
        yield warn(
            f"packets that nobody answers are remembered for {seconds} s: a job that sends many slows the "
            "making of every agent. With 5 s, an answer by UDP that takes longer is dropped on its way "
            "through NAT, for all of this host",
            "echo net.netfilter.nf_conntrack_udp_timeout=5 | sudo tee /etc/sysctl.d/61-mayfly.conf && "
            "echo nf_conntrack | sudo tee /etc/modules-load.d/mayfly.conf && sudo sysctl --system",
        )
    else:
        yield ok(f"packets that nobody answers are remembered for {seconds} s")


def _neighbours(facts: Facts) -> Iterator[Verdict]:
    """The Engine and the kernel make agents for all pools; both can be told to go before jobs."""
    seen = facts.exposure
    driver = facts.engine.cgroup_driver if facts.engine is not None else ""
    weighs = seen.weighs and driver == "cgroupfs"
    light = not weighs or (seen.weight is not None and seen.weight <= LITTLE_WEIGHT)
    if sum(pool.slots for pool in _pools(facts) if not pool.embedded) < 2:
        yield skip("no service gives jobs to several slots of this host")
    elif seen.hurries is None:
        yield skip("the kernel does not say whether it hurries what a new container waits for")
    elif seen.hurries and light:
        weigh = ", and all containers together weigh little" if weighs else ""
        yield ok(f"the kernel hurries what a new container waits for{weigh}")
    else:
        # All lines, whatever is set at the moment: the file is written anew.
        lines = [f"w {EXPEDITED} - - - - 1"]
        if weighs:
            lines += [
                f"d {CONTAINERS_WEIGHT.parent} 0755",
                f"w {CONTAINERS_WEIGHT} - - - - {LITTLE_WEIGHT}",
            ]
        yield warn(
            "jobs that never rest can make the start of all other agents twice as slow: "
            + " and ".join(
                (
                    *(() if seen.hurries else ("the kernel does not hurry it",)),
                    *(() if light else ("containers weigh as much as the Engine",)),
                )
            ),
            f"printf '%s\\n' {' '.join(quote(line) for line in lines)} | sudo tee {NEIGHBOURS} && "
            f"sudo systemd-tmpfiles --create {NEIGHBOURS}",
        )


def _builders(facts: Facts) -> Iterator[Verdict]:
    """Who builds images in a container makes a user namespace, which a kernel may refuse."""
    pools = [pool for pool in _pools(facts) if pool.containers and pool.builder is not None]
    seen = facts.exposure
    if not pools:
        yield skip("no pool has a builder")
        return
    names = ", ".join(pool.name for pool in pools)
    for value, setting, wanted in (
        (seen.namespaces, "user.max_user_namespaces", MOST_NAMESPACES),
        (seen.unprivileged, "kernel.unprivileged_userns_clone", 1),
    ):
        if value == 0:
            yield warn(
                f"{setting} is 0: jobs of pool {names} cannot build images",
                f"echo {setting}={wanted} | sudo tee -a /etc/sysctl.d/62-mayfly.conf && sudo sysctl --system",
            )
    plain = [pool.name for pool in pools if pool.security.apparmor is None]
    if seen.profiled and plain:
        text = "this kernel gives no right in a user namespace to what has no AppArmor profile: jobs of pool "
        yield warn(
            f"{text}{', '.join(plain)} cannot build images",
            "# name a profile that allows userns and mount, as the pool's security.apparmor",
        )
    elif 0 not in (seen.namespaces, seen.unprivileged):
        yield ok(f"jobs of pool {names} may make user namespaces")
    yield from _namespaces(pools, seen)


def _namespaces(pools: Sequence[PoolSpec], seen: Exposure) -> Iterator[Verdict]:
    """Root in a builder is root to the kernel's counts, which all containers of the host share. A namespace
    is kept by a process, an open file or a mount, so that no limit bounds how many there are but the memory
    that they are charged to: that has to come first.
    """
    names = ", ".join(pool.name for pool in pools)
    if boundless := [pool.name for pool in pools if pool.limits.memory is None]:
        yield warn(
            f"nothing bounds how many namespaces a job of pool {', '.join(boundless)} makes",
            "# set limits.memory of these pools: the kernel charges namespaces to it",
        )
    room = sum(pool.slots * (pool.limits.memory or 0) for pool in pools)
    wanted = min(MOST_NAMESPACES, room // LEAST_NAMESPACE)
    settings = {
        "user.max_user_namespaces": seen.namespaces or None,  # 0 was told
        "user.max_mnt_namespaces": seen.mount_namespaces,
        "user.max_uts_namespaces": seen.uts_namespaces,
    }
    low = {name: at for name, at in settings.items() if at is not None and at < wanted}
    if low:
        lines = " ".join(f"{name}={MOST_NAMESPACES}" for name in low)
        yield warn(
            f"jobs of pool {names} can use up what the kernel lets root have of namespaces, and then no "
            f"container starts: {', '.join(f'{name} is {at}' for name, at in low.items())}",
            f"printf '%s\\n' {lines} | sudo tee -a /etc/sysctl.d/62-mayfly.conf && sudo sysctl --system",
        )


# -- services --------------------------------------------------------------------------------------


def _services(facts: Facts) -> Iterator[Verdict]:
    if not facts.services:
        yield skip("no pool has a service")
    for pool, service in facts.services.items():
        if service.skipped is not None:
            yield skip(f"pool {pool}: {service.skipped}")
        elif service.refused is not None:
            yield fail(
                _of_pool(pool, service.refused), "mayfly doctor   # again, once that is mended"
            )
        elif all(severity is not Severity.ERROR for severity, _, _ in service.findings):
            yield ok(f"pool {pool}: its service lets us do what we must")
        for severity, text, fix in service.findings:
            found = fail if severity is Severity.ERROR else warn
            yield found(_of_pool(pool, text), fix)


def _of_pool(pool: str, text: str) -> str:
    """A provider's sentence, with the pool's name where it does not begin with it."""
    return text if text.startswith(f'pool "{pool}"') else f"pool {pool}: {text}"


def _proxies(facts: Facts) -> Iterator[Verdict]:
    """A proxy on this host's own loopback is another address in a container: its own."""
    pools = facts.config.pools if facts.config is not None else ()
    if not any(pool.proxy for pool in pools):
        yield skip("no pool has a proxy")
    for pool in pools:
        if pool.proxy is None:
            continue
        host = urlsplit(pool.proxy).hostname or ""
        if pool.network != "host" and (host == "localhost" or re.match(r"127\.|::1$", host)):
            yield warn(
                f"pool {pool.name}: its proxy {pool.proxy} is this host's own loopback, which agents do not "
                "reach: in a container that is the container",
                "# let the proxy listen on an address of this host that containers reach, and name that one",
            )
        else:
            yield ok(f"pool {pool.name}: agents get {pool.proxy}")


def _metadata(facts: Facts) -> Iterator[Verdict]:
    if facts.metadata is None:
        yield skip("no agent is there to try it from")
    elif facts.metadata:
        yield warn(
            "agents reach 169.254.169.254: on a cloud a job can take this host's credentials there",
            "sudo iptables -t raw -I PREROUTING ! -i lo -d 169.254.169.254 -j DROP   # until the next boot",
        )
    else:
        yield ok("no agent reaches a cloud's metadata address")


# -- the host --------------------------------------------------------------------------------------


def _clock(facts: Facts) -> Iterator[Verdict]:
    if facts.clock is None:
        yield skip("nobody here can say whether the clock is kept in step")
    elif facts.clock:
        yield ok("the clock is kept in step")
    else:
        yield warn("nothing keeps this host's clock in step", "sudo timedatectl set-ntp true")


def _disk(facts: Facts) -> Iterator[Verdict]:
    if not facts.rooms:
        yield skip("neither state directory nor Engine can be looked at")
    for room in facts.rooms:
        look = room.fix(facts.engine_room.replace("{name}", quote(room.path)))
        yield fail(room.text, look) if room.low else ok(room.text)


def _state(facts: Facts) -> Iterator[Verdict]:
    if facts.config is None:
        yield skip("there is no configuration")
    elif facts.state_problem is not None:
        place = quote(facts.config.host.state_dir)
        entered = "can be entered" in facts.state_problem
        yield fail(
            facts.state_problem,
            f"sudo chmod 700 {place}" if entered else f"sudo chown root: {place}",
        )
    else:
        yield ok(f"{facts.config.host.state_dir} is root's alone, or will be")


def _unit(facts: Facts) -> Iterator[Verdict]:
    if facts.unit is None:
        yield skip("systemd does not run here")
    elif facts.unit == "not-found":
        yield warn("mayfly.service is not installed", "sudo mayfly install")
    else:
        yield ok(f"mayfly.service is {facts.unit}")


def _manager(facts: Facts) -> Iterator[Verdict]:
    if not facts.manager:
        yield Verdict(State.SKIP, "no manager answers", "sudo systemctl start mayfly")
        return
    worries = [line for line in facts.health if line.severity is not Severity.INFO]
    for line in worries:
        found = fail if line.severity is Severity.ERROR else warn
        yield found(f"{line.code}: {line.text}", line.fix)
    if not worries:
        yield ok("the manager answers and sees nothing wrong")


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _pools(facts: Facts) -> tuple[PoolSpec, ...]:
    return facts.config.pools if facts.config is not None else ()


def _wants_gpus(facts: Facts) -> bool:
    return any(pool.gpus != 0 for pool in _pools(facts))


WARNING = Severity.WARNING
CHECKS: tuple[Check, ...] = (
    Check("config.valid", "configuration", "configuration file", _config),
    Check("config.writers", "configuration", "who can change it", _writers, WARNING),
    Check("config.secrets", "configuration", "tokens", _secrets),
    Check("engine.answers", "engine", "Docker Engine", _engine),
    Check("engine.live_restore", "engine", "live-restore", _live_restore, WARNING),
    Check("engine.removal", "engine", "removal of ended containers", _removal),
    Check("engine.alone", "engine", "other Mayflies", _strangers),
    Check("engine.containers", "engine", "containers of jobs' own", _containers),
    Check("engine.addresses", "engine", "networks of jobs' own", _addresses),
    Check("gpu.driver", "gpus", "driver", _driver),
    Check("gpu.checks", "gpus", "health", _checks),
    Check("gpu.leases", "gpus", "leases", _leases),
    Check("gpu.slurm", "gpus", "Slurm", _slurm),
    Check("gpu.injection", "gpus", "way into containers", _injection),
    Check("gpu.counters", "gpus", "profiling counters", _counters, WARNING),
    Check("gpu.stays", "gpus", "daemon-reload", _vanishing, WARNING),
    Check("image.present", "images", "images", _images),
    Check("image.cuda", "images", "CUDA in images", _cuda),
    Check("dataset.readable", "images", "datasets and caches", _datasets),
    Check("pool.gives", "images", "what pools give away", _given_away, WARNING),
    Check("service.allows", "services", "services", _services),
    Check("agent.proxy", "services", "proxies", _proxies, WARNING),
    Check("agent.metadata", "services", "metadata address", _metadata, WARNING),
    Check("host.clock", "host", "clock", _clock, WARNING),
    Check("host.inotify", "host", "inotify", _watches, WARNING),
    Check("host.connections", "host", "connections", _connections, WARNING),
    Check("host.neighbours", "host", "neighbours", _neighbours, WARNING),
    Check("host.builders", "host", "user namespaces", _builders, WARNING),
    Check("host.disk", "host", "disk", _disk),
    Check("host.state", "host", "state directory", _state),
    Check("host.unit", "host", "systemd unit", _unit, WARNING),
    Check("manager.health", "manager", "manager", _manager),
)


def flight() -> Check:
    """The check that is made for one slot when it is asked for."""
    return Check("agent.canary", "canary", "an agent from its gate to its end", lambda _: ())
