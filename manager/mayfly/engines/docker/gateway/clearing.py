"""What an agent made through its door is taken away again: by label and seal, all of it, never by a prune.

For the manager, before a slot's next gate opens. Safe to repeat: what is gone already is a success, and
whatever fails is ``Passing``, so that it is tried again until nothing is left. What bears the label and not
the seal is a stranger's, and not touched.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mayfly.core.admission.grant import (
    LABEL_BELONGS_HOST,
    LABEL_BELONGS_SEAL,
    read_grant,
)
from mayfly.core.model import LABEL_GENERATION, LABEL_HOST, Generation
from mayfly.core.naming import belonging, work_volume
from mayfly.core.seal import bears_belongings_seal
from mayfly.edge import door_places
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.lock_file import is_held
from mayfly.edge.removal import remove_tree
from mayfly.engines.docker import wire
from mayfly.engines.docker.belonging_to import belonging_to, is_called
from mayfly.engines.protocol import Gone

LOOK_SECONDS = 30.0
REMOVE_SECONDS = 60.0  # for one thing
CLOSE_SECONDS = 40.0  # the gateway itself waits 30 s for the Engine
ROUNDS = 5  # of looking again for what was made while it was looked
# In which an Engine ends what it was asked for, though nobody waits for the answer any more; as long as a
# gateway that lives waits for one.
LATE_SECONDS = 30.0
NOTE_MOST = 4096  # bytes


def clear(base_url: str, state_dir: str, host: str, generation: str, seal: str) -> None:
    """Remove every belonging of that agent, whose ``live`` is ``over``, and at last its directory. That stays
    as it is while the agent's container is there: whoever clears once more finds the same grant in it.

    ``Passing`` where something is left, or may be.
    """
    place = door_places.agent(Path(state_dir), generation)
    belongs = _Belongings(base_url, host, generation, seal)
    belongs.remove_containers()  # whatever keeps the gateway: nothing of a job that is over goes on
    close(state_dir, generation)
    work = _work_volume(place, generation)
    late = _late(place, belongs)
    for _ in range(ROUNDS):
        if not belongs.remove_containers():
            break
    else:
        raise Passing(f"containers of agent {generation} come again and again", 1.0)
    belongs.remove_networks()
    belongs.remove_images()
    # (A container that comes late and does not find its volumes would have the Engine make them anew.)
    if late:
        raise Passing(
            f"{late} of agent {generation} may still come: its gateway had asked for it when it ended",
            1.0,
        )
    # What its job is to bring back lies there: it goes with the agent's container, while that is there.
    # (And an Engine shows no file of a container of which it does not find all mounts: the door is one.)
    there = belongs.is_there()
    belongs.remove_volumes(last=work, kept=work if there else None)
    if there:
        return
    with _tried_again():
        remove_tree(place)


# -- the gateway -----------------------------------------------------------------------------


def close(state_dir: str, generation: str) -> None:
    """See that no request of that agent is in flight, where a gateway runs.

    ``Passing`` where one still is, or the gateway does not say.
    """
    doing = f"closing the Engine socket of agent {generation}"
    with _control(state_dir) as address:
        if address is None:
            return
        try:
            said = wire.post_json(
                address, f"{door_places.CLOSE}{generation}", doing, {}, timeout=CLOSE_SECONDS
            )
        except Fault as fault:
            if not is_held(door_places.lock(Path(state_dir))):
                return
            raise Passing(
                f"{doing}: the gateway does not answer; see `systemctl status mayfly-gateway`", 1.0
            ) from fault
    if said.get("in_flight"):
        raise Passing(f"{doing}: the Engine has not answered all that it was asked", 1.0)


@contextmanager
def _control(state_dir: str) -> Iterator[str | None]:
    """The address of the gateway's control socket, however deep it is; ``None`` where there is none."""
    try:
        folder = os.open(door_places.folder(Path(state_dir)), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        there = os.path.exists(f"/proc/self/fd/{folder}/{door_places.CONTROL}")  # noqa: PTH110  by descriptor
        yield f"unix:///proc/self/fd/{folder}/{door_places.CONTROL}" if there else None
    finally:
        os.close(folder)


def _late(place: Path, belongs: _Belongings) -> str:
    """The things that a gateway which was killed had asked for, that are not there and may still come."""
    left = []
    for note in _notes(place):
        with suppress(FileNotFoundError):
            age = time.time() - note.stat().st_mtime
            kind, name = _noted(note)
            if age < 0:  # the clock was set back: it has its time from now, and no more
                os.utime(note)
            if age > LATE_SECONDS or (kind and belongs.has(kind, name)):
                note.unlink()  # what is there is removed with all else
            else:
                left.append(f"{kind.removesuffix('s')} {name}" if kind else "something")
    return ", ".join(left[:3])


def _notes(place: Path) -> Iterator[Path]:
    for state in (door_places.OVER, door_places.LIVE):
        with suppress(OSError):
            yield from (place / state / door_places.MAKING).iterdir()


def _noted(note: Path) -> tuple[str, str]:
    """Kind and name; empty where a gateway died as it wrote them."""
    try:
        with note.open("rb") as file:
            said = json.loads(file.read(NOTE_MOST))
        return str(said["kind"]), str(said["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def _work_volume(place: Path, generation: str) -> str:
    """That of the agent; as it is called where its grant cannot be read, which another version wrote."""
    for state in (door_places.OVER, door_places.LIVE):
        with suppress(OSError, ValueError):
            work = read_grant((place / state / door_places.GRANT).read_bytes()).work
            if work is not None:
                return work.volume
    return work_volume(Generation(generation))


# -- the Engine ------------------------------------------------------------------------------


class _Belongings:
    """Those of one agent, at one Engine."""

    def __init__(self, base_url: str, host: str, generation: str, seal: str) -> None:
        self._base_url = base_url
        self._generation = Generation(generation)
        self._prefix = belonging(self._generation)
        self._seal = seal
        self._host = host

    def remove_containers(self) -> bool:
        """Whether there was one."""
        found = [
            entry["Id"]
            for entry in self._own("/containers/json?all=1", "containers")
            if is_called(entry, self._generation)
        ]
        for cid in found:
            self._remove(f"/containers/{cid}?force=1&v=1", f"container {cid[:12]}")
        return bool(found)

    def has(self, kind: str, name: str) -> bool:
        """Whether the Engine has a thing of that name."""
        doing = f"looking for {name} of agent {self._generation}"
        path = f"/{kind}/{quote(name, safe='')}{'/json' if kind == 'containers' else ''}"
        with _tried_again(), suppress(Gone):
            wire.get_json(self._base_url, path, doing, timeout=LOOK_SECONDS)
            return True
        return False

    def remove_networks(self) -> None:
        for entry in self._own("/networks", "networks"):
            network, what = entry["Id"], f"network {entry['Name']}"
            try:
                self._remove(f"/networks/{network}", what)
            except Passing:
                self._free(network)
                self._remove(f"/networks/{network}", what)

    def _free(self, network: str) -> None:
        """Take the ends of its containers out of a network. They are gone, and an Engine that was killed may
        know them no more, and still keep the network for one.
        """
        doing = f"looking who is in a network of agent {self._generation}"
        with _tried_again(), suppress(Gone):
            shown = wire.get_json(
                self._base_url, f"/networks/{network}", doing, timeout=LOOK_SECONDS
            )
            names = [end.get("Name") or "" for end in (shown.get("Containers") or {}).values()]
            for name in names:
                if name.startswith(self._prefix):
                    wire.do(
                        self._base_url,
                        "POST",
                        f"/networks/{network}/disconnect",
                        f"taking {name} out of its network",
                        timeout=REMOVE_SECONDS,
                        document={"Container": name, "Force": True},
                    )

    def remove_images(self) -> None:
        for entry in self._own("/images/json", "images"):
            self._remove(f"/images/{entry['Id']}?force=1", f"image {entry['Id'][:19]}")

    def is_there(self) -> bool:
        """Whether the agent's own container is, which mounts its door and its work volume: by its labels,
        since there may be no grant that tells its id.
        """
        labels = [f"{LABEL_GENERATION}={self._generation}", f"{LABEL_HOST}={self._host}"]
        wanted = quote(json.dumps({"label": labels}))
        with _tried_again():
            return bool(
                wire.get_json(
                    self._base_url,
                    f"/containers/json?all=1&filters={wanted}",
                    f"looking for the container of agent {self._generation}",
                    timeout=LOOK_SECONDS,
                )
            )

    def remove_volumes(self, last: str | None, kept: str | None) -> None:
        listed = self._own("/volumes", "volumes", "Volumes")
        names = [entry["Name"] for entry in listed if entry["Name"] != kept]
        for name in sorted(names, key=lambda name: name == last):
            self._remove(f"/volumes/{quote(name, safe='')}?force=1", f"volume {name}")

    def _own(self, target: str, kind: str, key: str | None = None) -> list[Mapping[str, Any]]:
        doing = f"looking for the {kind} of agent {self._generation}"
        with _tried_again():
            listed = belonging_to(self._base_url, self._generation, target, doing, LOOK_SECONDS)
        entries = (listed.get(key) if key is not None else listed) or []
        return [entry for entry in entries if self._is_own(entry.get("Labels") or {})]

    def _is_own(self, labels: Mapping[str, str]) -> bool:
        return labels.get(LABEL_BELONGS_HOST) == self._host and bears_belongings_seal(
            labels.get(LABEL_BELONGS_SEAL, ""), self._seal
        )

    def _remove(self, target: str, what: str) -> None:
        doing = f"removing {what} of agent {self._generation}"
        with _tried_again(), suppress(Gone):
            wire.do(self._base_url, "DELETE", target, doing, timeout=REMOVE_SECONDS)


@contextmanager
def _tried_again() -> Iterator[None]:
    """Whatever fails here passes: it is tried until nothing is left."""
    try:
        yield
    except Passing:
        raise
    except Fault as fault:
        raise Passing(f"{fault}; it is tried again") from fault
