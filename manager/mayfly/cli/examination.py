"""What the doctor looks at, gathered through the edges; it judges nothing and changes nothing.

Every look is bounded in time, and one that fails leaves the others theirs.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mayfly.cli.client import Client
from mayfly.cli.doctor import Facts, ServiceExam
from mayfly.cli.exposure import look as exposure_of
from mayfly.cli.host_hardware import hardware_for
from mayfly.cli.trouble import Trouble
from mayfly.core import naming
from mayfly.core.desire import Hardware, ImageSeen, Survey, references
from mayfly.core.job_images import allowed
from mayfly.core.model import (
    Condition,
    Config,
    ContainerId,
    GatewayHealth,
    HostId,
    HostSpec,
    PoolName,
    PoolSpec,
    Severity,
)
from mayfly.core.plain_text import clean
from mayfly.core.seal import bears_its_name
from mayfly.edge import credentials, door_places
from mayfly.edge.faults import Fault, Refused
from mayfly.edge.gateway_control import GatewayControl
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.mounted import MountedPaths
from mayfly.edge.provider_keys import secrets_of
from mayfly.edge.room import Room, room
from mayfly.edge.slurm import Slurm
from mayfly.engines import load as load_engine
from mayfly.engines import unusable as unusable_engines
from mayfly.engines.protocol import Engine
from mayfly.providers.configuration import load
from mayfly.providers.configuration import unusable as unusable_providers
from mayfly.providers.installed import load as provider_of
from mayfly.service.engine_observer import survey_of
from mayfly.service.images_seen import image_seen

ENGINE_SECONDS = 15.0
JOB_IMAGES = 100  # that are looked at: a pattern may be for all of a host's
# An image without these words can say nothing: any other code than the two tells nothing.
REACHED, NOT_REACHED = 10, 11
METADATA = f"""timeout 3 bash -c ': >/dev/tcp/169.254.169.254/80' 2>/dev/null
case $? in 0) exit {REACHED} ;; 1 | 124) exit {NOT_REACHED} ;; esac"""
UNIT = "mayfly.service"


def examine(path: str | None, manager: Callable[[], Client]) -> Facts:
    """Look at everything."""
    try:
        read = load(path)
        config = read.config
    except Fault as fault:
        facts = _engine(Facts(config_problem=str(fault)), Config(HostSpec("host"), ()))
    else:
        files = tuple(str(file) for file in read.files)
        exposure = exposure_of(config, read.files)
        facts = _host(Facts(config=config, config_files=files, exposure=exposure), config)
    chosen = facts.config.host.engine if facts.config is not None else ""
    unusable = tuple(
        sentence
        for sentence in (*unusable_providers(), *unusable_engines(chosen))
        if sentence not in facts.config_problem
    )
    facts = replace(facts, unusable=unusable, clock=_clock(), unit=_unit())
    return _asked(facts, manager)


def _host(facts: Facts, config: Config) -> Facts:
    state = Path(config.host.state_dir)
    facts = replace(
        facts,
        hardware=hardware_for(config),
        slurm=_slurm(config),
        char_links=_char_links(),
        counters=counters_open(),
        state_problem=_state_problem(state),
        rooms=_rooms(state),
    )
    facts = _engine(facts, config)
    files, handed, _ = _credentials()
    with handed_over(running=True) as sealed:
        facts = replace(facts, secrets=_secrets(config, sealed), unhanded=unhanded(files, handed))
        return replace(facts, services=_services(config, state, sealed))


def _slurm(config: Config) -> dict[str, str] | None:
    """What stands in the way of Slurm's giving GPUs, by what was looked at; ``None``: no pool asks it."""
    asked = next((pool.slurm for pool in config.pools if pool.by_slurm), None)
    return None if asked is None else Slurm().look(asked.node, asked.partition)


def hardware_and_survey(config: Config) -> tuple[Hardware, Survey]:
    """What decides how slots are filled; ``Fault`` where the Engine does not answer."""
    hardware = hardware_for(config)
    with _asked_sanely(config) as engine:
        wanted = references(config, hardware)
        return hardware, survey_of(engine, config, engine.facts(), wanted, MountedPaths())


@contextmanager
def _asked_sanely(config: Config) -> Iterator[Engine]:
    """The Engine; ``Refused`` for answers that no Engine gives: a person may have named any socket."""
    address = config.host.docker_host
    try:
        yield load_engine(config.host, timeout=ENGINE_SECONDS)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Refused(
            f"what answers at {address} does not speak as a Docker Engine does"
            f" ({type(error).__name__}: {error}); let host.docker_host name an Engine's socket"
        ) from error


def _engine(facts: Facts, config: Config) -> Facts:
    own = _host_id(Path(config.host.state_dir))
    try:
        with _asked_sanely(config) as engine:
            facts = replace(
                facts,
                engine_look=engine.lines.status,
                engine_addresses=engine.lines.addresses,
                engine_room=engine.lines.room,
            )
            info = engine.facts()
            findings = engine.examine()
            survey = survey_of(
                engine, config, info, references(config, facts.hardware), MountedPaths()
            )
            job_images, untold = job_images_of(engine, config)
            strangers = sorted(c.name for c in engine.list() if c.host != own and bears_its_name(c))
    except Fault as fault:
        return replace(facts, engine_problem=str(fault))
    return replace(
        facts,
        engine=info,
        findings=findings,
        survey=survey,
        job_images=job_images,
        job_images_untold=untold,
        strangers=tuple(strangers),
        gateway=_gateway(config),
        rooms=(*facts.rooms, *_rooms(*map(Path, info.places))),
    )


def job_images_of(
    engine: Engine, config: Config, clock: Callable[[], float] = time.monotonic
) -> tuple[dict[str, ImageSeen], str]:
    """The images on this Engine that jobs may ask for, the first of them by name; and why the Engine told of
    no more, empty where it told of all.
    """
    found: dict[str, ImageSeen] = {}
    pools = [pool for pool in config.pools if pool.job_images]
    if not pools:
        return found, ""
    deadline = clock() + ENGINE_SECONDS
    try:
        names = sorted(name for name in engine.image_names() if allowed(pools, name))
        for name in names[:JOB_IMAGES]:
            left = deadline - clock()
            if left <= 0:
                return found, f"the Engine took longer than {ENGINE_SECONDS:g} s"
            seen = image_seen(engine, name, within=left)
            if seen is not None:
                found[name] = seen
    except Fault as fault:
        return found, str(fault)
    return found, ""


def _gateway(config: Config) -> GatewayHealth | None:
    """How the gateway fares, where a pool needs it and it may be asked."""
    wanted = any(pool.containers for pool in config.pools)
    if not wanted or os.geteuid() != 0:
        return None
    with closing(GatewayControl(door_places.folder(Path(config.host.state_dir)))) as gateway:
        return gateway.health()


def _host_id(state: Path) -> HostId | None:
    """The id of this installation; ``None`` where it has not run yet, or is not ours to read."""
    try:
        return HostId(HistoryReader(state).meta("host") or "") or None
    except (Fault, OSError):
        return None


def _rooms(*places: Path) -> tuple[Room, ...]:
    found = (room(place) for place in places)
    return tuple(place for place in found if place is not None)


def _state_problem(state: Path) -> str | None:
    try:
        found = state.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{state} cannot be looked at: {error.strerror}"
    if found.st_uid != 0 and os.geteuid() == 0:
        return f"{state} does not belong to root"
    if found.st_mode & 0o077:
        return f"{state} can be entered by others (mode {found.st_mode & 0o777:04o})"
    return None


def _char_links() -> bool | None:
    """Whether /dev/char has a link to each GPU's device; ``None`` without GPUs."""
    devices = [path for path in Path("/dev").glob("nvidia[0-9]*") if path.is_char_device()]
    if not devices:
        return None
    numbers = [path.stat().st_rdev for path in devices]
    return all(Path(f"/dev/char/{os.major(n)}:{os.minor(n)}").exists() for n in numbers)


def counters_open(params: Path = Path("/proc/driver/nvidia/params")) -> bool | None:
    """Whether the driver lets everybody read profiling counters; ``None``: it does not say.

    https://developer.nvidia.com/ERR_NVGPUCTRPERM
    """
    with suppress(OSError):
        text = params.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^RmProfilingAdminOnly: ([01])$", text, re.MULTILINE)
        return found[1] == "0" if found is not None else None
    return None


# -- tokens and services -----------------------------------------------------------------------------


HANDED = Path("/run/credentials") / UNIT  # where systemd puts them while the unit runs
_LOADS = re.compile(r"^LoadCredential(Encrypted)?=([^:\s]+)(?::(/\S+))?\s*$", re.MULTILINE)


@contextmanager
def handed_over(*, running: bool = False) -> Iterator[frozenset[str]]:
    """The credentials that systemd would hand to the manager now, for as long as somebody asks services.

    They are read where `LoadCredential=` says, else from the unit that runs; ``running``: the other way
    round, as the manager that runs has them. Nothing is copied. Yields the names that only systemd can open,
    because they are encrypted.
    """
    if os.environ.get("CREDENTIALS_DIRECTORY"):
        yield frozenset()
        return
    files, handed, sealed = _credentials()
    places = credential_places(files, handed, running=running)
    with tempfile.TemporaryDirectory(prefix="mayfly-doctor-") as made:
        for name, path in places.items():
            (Path(made) / name).symlink_to(path)
        os.environ["CREDENTIALS_DIRECTORY"] = made
        try:
            yield sealed - places.keys()
        finally:
            del os.environ["CREDENTIALS_DIRECTORY"]


def credential_places(
    files: Mapping[str, str], handed: Mapping[str, str], *, running: bool
) -> dict[str, str]:
    """Where each credential is read: the ``files`` of the unit, and what systemd has ``handed`` over.

    A file may have been written since the manager was started, and what it was handed may be worth nothing.
    """
    if running:
        return {**files, **handed}
    there = {name: path for name, path in files.items() if Path(path).is_file()}
    return {**files, **handed, **there}


def unhanded(files: Mapping[str, str], handed: Mapping[str, str]) -> tuple[str, ...]:
    """The credentials of which the unit that runs was handed something else than its file says now."""
    return tuple(
        name
        for name in sorted(files.keys() & handed.keys())
        if (said := _content(files[name])) is not None and said != _content(handed[name])
    )


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _credentials() -> tuple[dict[str, str], dict[str, str], frozenset[str]]:
    """The unit's files, what it was handed, and the names of those that are encrypted."""
    files, sealed = loaded(_ask("systemctl", "cat", UNIT) or "")
    handed: dict[str, str] = {}
    with suppress(OSError):
        handed = {path.name: str(path) for path in HANDED.iterdir()}
    return files, handed, sealed


def loaded(unit: str) -> tuple[dict[str, str], frozenset[str]]:
    """Of a unit with its drop-ins: the file of each credential, and the names of those that are encrypted."""
    found = [match.groups() for match in _LOADS.finditer(unit)]
    named = [(sealed, name, path) for sealed, name, path in found if credentials.valid_name(name)]
    places = {name: path for sealed, name, path in named if path and not sealed}
    return places, frozenset(name for sealed, name, _ in named if sealed)


def _secrets(config: Config, sealed: frozenset[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for pool in config.pools:
        # A credential of the gateway's is its own to read: what it says of that stands with it.
        of_registries = (one.password for one in pool.registries if "file" in one.password)
        for reference in (*secrets_of(pool.settings), *of_registries):
            if reference.get("credential") in sealed:
                continue
            ((kind, value),) = reference.items()
            try:
                credentials.read(reference)
                found[f"{kind} {value}"] = None
            except Fault as fault:
                found[f"{kind} {value}"] = str(fault)
    return found


TOLD = 200  # characters of an error that only a bug explains


def _services(config: Config, state: Path, sealed: frozenset[str]) -> dict[PoolName, ServiceExam]:
    host = _host_id(state) or naming.host_id(0)
    found: dict[PoolName, ServiceExam] = {}
    for pool in config.pools:
        needed = {reference.get("credential") for reference in secrets_of(pool.settings)}
        if needed & sealed:
            told = "its token is encrypted and opened by systemd alone: ask again when mayfly.service runs"
            found[pool.name] = ServiceExam(skipped=told)
        elif not pool.embedded:
            found[pool.name] = _service(pool, config, host, state)
    return found


def _service(pool: PoolSpec, config: Config, host: HostId, state: Path) -> ServiceExam:
    try:
        found = provider_of(pool, config.host, host, state).check()
    except Fault as fault:
        return ServiceExam(refused=str(fault))
    except Exception as error:  # noqa: BLE001  what one service says must not keep the others unasked
        what = f"{type(error).__name__}: {error}"
        return ServiceExam(refused=f"a bug in Mayfly, please report it: {clean(what)[:TOLD]}")
    told = tuple((finding.severity, finding.text, finding.fix) for finding in found)
    return ServiceExam(findings=told)


# -- the host ----------------------------------------------------------------------------------------


def _clock() -> bool | None:
    said = _ask("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(said or "")


def _unit() -> str | None:
    if not Path("/run/systemd/system").is_dir():
        return None
    said = _ask(
        "systemctl", "show", UNIT, "--property=LoadState,ActiveState,UnitFileState", "--value"
    )
    load_state, active, enabled = [*(said or "").split("\n"), "", "", ""][:3]
    if load_state == "not-found":
        return "not-found"
    return ", ".join(word for word in (active, enabled) if word) or load_state


def _ask(*command: str) -> str | None:
    """What a program prints; ``None`` where it is not there or fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# -- the manager -------------------------------------------------------------------------------------


def _asked(facts: Facts, manager: Callable[[], Client]) -> Facts:
    try:
        document: Mapping[str, Any] = manager().get("/v1/status")
    except Trouble:
        return facts
    health = tuple(
        Condition(line["code"], Severity(line["severity"]), line["text"], line["fix"])
        for line in document.get("health", ())
    )
    return replace(facts, manager=True, health=health, metadata=_metadata(facts, document))


def _metadata(facts: Facts, document: Mapping[str, Any]) -> bool | None:
    """Whether a waiting agent reaches a cloud's metadata; a busy one is not disturbed."""
    if facts.config is None or facts.engine is None:
        return None
    engine = load_engine(facts.config.host, timeout=ENGINE_SECONDS)
    for slot in document.get("slots", ()):
        if slot.get("phase") == "idle" and slot.get("container"):
            with suppress(Fault):
                cid = ContainerId(slot["container"])
                code, _ = engine.exec_probe(cid, ("/usr/bin/env", "bash", "-c", METADATA), 10.0)
                return {REACHED: True, NOT_REACHED: False}.get(code)
    return None
