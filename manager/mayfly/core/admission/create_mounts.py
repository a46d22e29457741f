"""What a container mounts: of the agent its work and what it mounts itself, volumes of the job's, and memory.

Nothing of the host is named by a client: a path is one of the agent's, and becomes a directory of the volume
that is there in the agent. A volume is the wall, a subpath is not: whoever may write to a volume can have a
link in it lead to any other place of it, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mayfly.core.admission.ask import Ask, free_labels, free_name
from mayfly.core.admission.keys import (
    Key,
    by_name,
    dropped,
    each,
    flag,
    matching,
    read_keys,
    refused,
    table,
    text,
    whole,
)
from mayfly.core.admission.objects import NAME, Kind, Known, Ref
from mayfly.core.admission.outcome import Directory, Refused
from mayfly.core.admission.places import beneath, cleaned, normal, target
from mayfly.core.admission.request import shown
from mayfly.core.model import CA_TARGET, DOOR_SOCKET

MOST = 128
# Names of the agent's own Engine socket, inside it.
DOORS = (DOOR_SOCKET, "/var/run/docker.sock", "/run/docker.sock")
_CONSISTENCY = ("", "default", "consistent", "cached", "delegated")
_PRIVATE = ("", "rprivate", "private")
_TMPFS = re.compile(
    r"rw|ro|exec|noexec|suid|nosuid|nodev|noatime|size=[0-9]{1,15}[kmgKMG%]?|mode=[0-7]{1,4}|"
    r"uid=[0-9]{1,10}|gid=[0-9]{1,10}|nr_inodes=[0-9]{1,12}[kmgKMG]?",
    re.ASCII,
)
BIND_OPTIONS = (
    Key("Propagation", "`rprivate` alone", matching(lambda one: one in _PRIVATE, '"rprivate"')),
    Key("CreateMountpoint", "makes the directory in the agent's work", flag),
    dropped("NonRecursive", "nothing is mounted below"),
    dropped("ReadOnlyNonRecursive", "nothing is mounted below"),
    dropped("ReadOnlyForceRecursive", "nothing is mounted below"),
)
DRIVER = (
    Key("Name", "`local` alone", matching(lambda one: one in ("", "local"), '"local"')),
    refused("Options", "a volume of a job's has none"),
)
VOLUME_OPTIONS = (
    Key("NoCopy", "as it is", flag),
    Key("Labels", "but those that begin with `io.mayfly.`", by_name(text)),
    Key("Subpath", "within the volume, without `..`", text),
    Key("DriverConfig", "`local` without options", table(DRIVER)),
)
TMPFS_OPTIONS = (
    Key("SizeBytes", "at most the pool's memory", whole(0, 2**62)),
    Key("Mode", "as it is", whole(0, 0o7777)),
    Key("Options", "`exec`, `noexec` and the like", each(each(text))),
)
MOUNT = (
    Key("Type", "`bind`, `volume` or `tmpfs`", text),
    Key("Source", "bind: a path of the agent; volume: one of the job's", text),
    Key("Target", "not below `/proc`, `/sys` or `/dev`", text),
    Key("ReadOnly", "as it is; what the agent may not write to stays so", flag),
    Key(
        "Consistency", "not passed on", matching(lambda one: one in _CONSISTENCY, "one of Docker's")
    ),
    Key("BindOptions", "see below", table(BIND_OPTIONS)),
    Key("VolumeOptions", "see below", table(VOLUME_OPTIONS)),
    Key("TmpfsOptions", "see below", table(TMPFS_OPTIONS)),
    refused("ImageOptions", "images are not mounted"),
    refused("ClusterOptions", "there is no cluster"),
)


@dataclass(slots=True)
class Mounted:
    """What goes out of it; only this module writes to it."""

    mounts: list[dict[str, Any]] = field(default_factory=list)
    tmpfs: dict[str, str] = field(default_factory=dict)
    volumes_from: list[str] = field(default_factory=list)
    directories: list[Directory] = field(default_factory=list)
    targets: set[str] = field(default_factory=set)
    makes: int = 0  # how many volumes come to be with it, at most

    def take(self, place: str, where: str) -> None:
        """Note that something is mounted there; `Refused` where something is already."""
        if place in self.targets:
            raise Refused(f"{where}: two things are mounted on {shown(place)}", 400)
        if len(self.targets) >= MOST:
            raise Refused(f"{where}: more than {MOST} places are mounted")
        self.targets.add(place)


def mounted(ask: Ask, host: Mapping[str, Any], volumes: Iterable[str], image: Known) -> Mounted:
    """All that the container mounts; ``volumes`` are the places of the creation's own ``Volumes``."""
    out = Mounted()
    taken: set[str] = set()
    for bind in host.get("Binds") or ():
        _bind(ask, out, bind)
    for one in host.get("Mounts") or ():
        _mount(ask, out, read_keys(one, MOUNT, "HostConfig.Mounts."))
    for place, options in (host.get("Tmpfs") or {}).items():
        at = target(place, "HostConfig.Tmpfs")
        out.take(at, "HostConfig.Tmpfs")
        out.tmpfs[at] = _tmpfs_text(options.split(","), ask.grant.limits.memory)
    for one in host.get("VolumesFrom") or ():
        name, _, mode = one.partition(":")
        if mode not in ("", "ro", "rw"):
            raise Refused(f"HostConfig.VolumesFrom: {shown(mode)} is neither ro nor rw", 400)
        container = ask.own(Kind.CONTAINER, name)
        out.volumes_from.append(container.id + (f":{mode}" if mode else ""))
        taken.update(cleaned(place) for place in container.places)
    # What an image says would be a volume that nobody finds again: each is made here, and marked; but what is
    # taken from another container comes before the image's.
    own = [target(place, "Volumes") for place in volumes]
    said = [target(cleaned(place), "a VOLUME of the image") for place in image.volumes]
    there = {one.name for ref, one in ask.known.items() if ref.kind is Kind.VOLUME}
    for place in dict.fromkeys((*own, *said)):
        if place not in out.targets and place not in taken:
            out.take(place, "Volumes")
            out.mounts.append(_volume("", place, ask, read_only=False))
    out.makes = sum(
        "DriverConfig" in (one.get("VolumeOptions") or {}) and one.get("Source") not in there
        for one in out.mounts
    )
    own_volumes = sum("DriverConfig" in (one.get("VolumeOptions") or {}) for one in out.mounts)
    if own_volumes > ask.grant.bounds.volumes:
        raise Refused(
            f"a container with {own_volumes} volumes is refused: a job has {ask.grant.bounds.volumes} at most"
        )
    if ask.grant.ca is not None and CA_TARGET not in out.targets:
        out.mounts.append(_host(ask.grant.ca, CA_TARGET, read_only=True))
    return out


# -- docker run -v --------------------------------------------------------------------------------


def _bind(ask: Ask, out: Mounted, bind: str) -> None:
    where = "HostConfig.Binds"
    parts = bind.split(":")
    if len(parts) > 3 or not all(parts):
        raise Refused(f"{where}: {shown(bind)} is not SOURCE:TARGET[:OPTIONS]", 400)
    place = target(parts[-1] if len(parts) < 3 else parts[1], where)
    out.take(place, where)
    options = parts[2].split(",") if len(parts) == 3 else []
    read_only, no_copy = _bind_options(options, where)
    source = parts[0] if len(parts) > 1 else ""
    if source.startswith("/"):
        _place(ask, out, source, place, where, read_only=read_only, make=True)
        return
    out.mounts.append(_volume(source, place, ask, read_only=read_only, no_copy=no_copy))


def _bind_options(options: Iterable[str], where: str) -> tuple[bool, bool]:
    """Whether it is read-only, and whether the image's files stay out. Labels of SELinux are dropped."""
    read_only = no_copy = False
    for option in options:
        if option == "ro":
            read_only = True
        elif option in ("nocopy", "volume-nocopy"):
            no_copy = True
        elif option not in ("rw", "z", "Z", *_PRIVATE, *_CONSISTENCY):
            raise Refused(
                f"{where}: option {shown(option)} is refused: ro, rw and nocopy can be said"
            )
    return read_only, no_copy


# -- docker run --mount ---------------------------------------------------------------------------


def _mount(ask: Ask, out: Mounted, one: Mapping[str, Any]) -> None:
    where = "HostConfig.Mounts"
    kind, source = one.get("Type") or "", one.get("Source") or ""
    place = target(one.get("Target") or "", where)
    out.take(place, where)
    read_only = one.get("ReadOnly", False)
    for key, of in (
        ("BindOptions", "bind"),
        ("VolumeOptions", "volume"),
        ("TmpfsOptions", "tmpfs"),
    ):
        if one.get(key) and kind != of:
            raise Refused(f"{where}: {key} are not for a mount of type {shown(kind)}", 400)
    match kind:
        case "bind":
            make = (one.get("BindOptions") or {}).get("CreateMountpoint", False)
            _place(ask, out, source, place, where, read_only=read_only, make=make)
        case "volume":
            options = one.get("VolumeOptions") or {}
            out.mounts.append(
                _volume(
                    source,
                    place,
                    ask,
                    read_only=read_only,
                    no_copy=options.get("NoCopy", False),
                    labels=free_labels(options.get("Labels"), f"{where}.VolumeOptions.Labels"),
                    subpath=_subpath(options.get("Subpath") or "", where),
                )
            )
        case "tmpfs":
            if source:
                raise Refused(f"{where}: a tmpfs has no source", 400)
            out.tmpfs[place] = _tmpfs_of(one, read_only, ask.grant.limits.memory)
        case _:
            raise Refused(
                f"{where}: type {shown(kind)} is refused: bind, volume and tmpfs can be had"
            )


def _subpath(path: str, where: str) -> str:
    if not path:
        return ""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or not parts:
        raise Refused(
            f"{where}: Subpath {shown(path)} has to lead into the volume, without ..", 400
        )
    return "/".join(parts)


def _tmpfs_of(one: Mapping[str, Any], read_only: bool, memory: int | None) -> str:
    options = one.get("TmpfsOptions") or {}
    said = ["=".join(parts) for parts in options.get("Options") or ()]
    if options.get("SizeBytes"):
        said.append(f"size={options['SizeBytes']}")
    if options.get("Mode"):
        said.append(f"mode={options['Mode']:o}")
    return _tmpfs_text([*said, *(("ro",) if read_only else ())], memory)


def _tmpfs_text(options: Iterable[str], memory: int | None) -> str:
    """The options; ``memory``, in bytes, is what a size may be at most."""
    said = []
    for option in options:
        if not option:
            continue
        if not _TMPFS.fullmatch(option):
            raise Refused(
                f"option {shown(option)} of a tmpfs is refused: size, mode, uid, gid and exec can be said"
            )
        name, _, value = option.partition("=")
        bounded = name == "size" and memory is not None and _bytes(value, memory) >= memory
        said.append(f"size={memory}" if bounded else option)
    return ",".join([*said, "nodev"] if "nodev" not in said else said)


def _bytes(size: str, memory: int) -> int:
    unit = {"k": 10, "m": 20, "g": 30}.get(size[-1:].lower(), 0)
    if size.endswith("%"):
        return memory  # of the host's memory: more than any pool's
    return int(size.rstrip("kmgKMG")) << unit


# -- what goes out --------------------------------------------------------------------------------


def _place(
    ask: Ask, out: Mounted, source: str, place: str, where: str, *, read_only: bool, make: bool
) -> None:
    """A path of the agent as what it is there."""
    grant, path = ask.grant, normal(source, where)
    if path in DOORS:
        out.mounts.append(_host(grant.door, place, read_only=False))
        return
    for mount in grant.mounts:
        if path == normal(mount.target, where):
            out.mounts.append(_host(mount.source, place, read_only=read_only or mount.read_only))
            return
    volumes = [(one, True) for one in grant.shared]
    if grant.work is not None:
        volumes.append((grant.work, False))
    # The nearest above it: one may lie in another.
    for one, shared in sorted(volumes, key=lambda pair: -len(pair[0].target)):
        rest = beneath(path, one.target)
        if rest is None:
            continue
        if rest and make and not shared:
            out.directories.append(Directory(one.volume, rest))
        out.mounts.append(_directory(one.volume, rest, place, read_only=read_only or shared))
        return
    work = f"what lies below {grant.work.target}" if grant.work is not None else "volumes"
    raise Refused(f"{where}: {shown(path)} is refused: a job's containers can mount {work}")


def _host(source: str, place: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": place,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _directory(volume: str, rest: str, place: str, *, read_only: bool) -> dict[str, Any]:
    """A directory of the agent's; an empty ``rest`` is all of it, which is the agent's alone."""
    options: dict[str, Any] = {"NoCopy": True}
    if rest:
        options["Subpath"] = rest
    return {
        "Type": "volume",
        "Source": volume,
        "Target": place,
        "ReadOnly": read_only,
        "VolumeOptions": options,
    }


def _volume(
    source: str,
    place: str,
    ask: Ask,
    *,
    read_only: bool,
    no_copy: bool = False,
    labels: Mapping[str, str] | None = None,
    subpath: str = "",
) -> dict[str, Any]:
    """A volume of the job's; without a name one that goes with its container."""
    options: dict[str, Any] = {
        "NoCopy": no_copy,
        "Labels": {**(labels or {}), **ask.grant.labels},
        "DriverConfig": {"Name": "local", **_sized(ask.grant.limits.volume_options)},
    }
    if subpath:
        options["Subpath"] = subpath
    mount = {"Type": "volume", "Target": place, "ReadOnly": read_only, "VolumeOptions": options}
    return mount | ({"Source": volume_name(ask, source)} if source else {})


def _sized(options: Mapping[str, str]) -> dict[str, Any]:
    return {"Options": options} if options else {}


def volume_name(ask: Ask, name: str) -> str:
    """What a volume of the job's is called at the Engine, whether or not it is there."""
    known = ask.known.get(Ref(Kind.VOLUME, name))
    if known is not None:
        return known.name
    if not NAME.fullmatch(name):
        raise Refused(f"{shown(name)} is neither an absolute path nor the name of a volume", 400)
    free_name(ask.grant, name, "a volume")
    return ask.grant.prefix + name
