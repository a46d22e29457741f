"""The volumes that stand beside agents which may have containers: where each works, what their image shares.

A work volume is one agent's, from its making to its end. A shared volume holds one directory of one image,
for all agents of it: whoever mounts it reads. It is filled by the Engine itself, when a container is created
that is never started, so that it is whole before its first user comes. One that nobody uses is filled anew at
its first need in each run of the manager, since an Engine may have been ended while it filled it. It goes
once its image is gone. It must never touch a volume without this installation's labels.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from mayfly.core.admission.grant import LABEL_BELONGS_HOST, LABEL_BELONGS_SEAL
from mayfly.core.agent_plan import AgentPlan
from mayfly.core.container_labels import NOBODYS
from mayfly.core.model import Generation, HostId
from mayfly.core.naming import shared_volume, work_volume
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.engines.docker import wire
from mayfly.engines.docker.container import volume_mount
from mayfly.engines.docker.values import VolumeMount
from mayfly.engines.protocol import Belonging, Gone

LABEL_WORK = "io.mayfly.work"  # of a work volume: whose it is
LABEL_SHARED = "io.mayfly.shared"  # of a shared volume: the id of its image
FILLING = 120.0  # seconds for the Engine to copy a directory of an image


class Volumes:
    """Those of one Engine; may be used from any thread."""

    def __init__(self, base_url: str, timeout: float) -> None:
        self._base_url = base_url
        self._timeout = timeout
        self._whole: set[str] = set()  # shared volumes that are known to be filled
        self._host: HostId | None = None  # whose they are; None: nobody has had one yet
        self._filling = (
            threading.Lock()
        )  # two agents of one image come at once, and one fills for both

    def ready(self, plan: AgentPlan, size: int | None = None) -> tuple[VolumeMount, ...]:
        """Make an agent's, and what it mounts: its work directory, of ``size`` bytes at most, and what its
        image shares.
        """
        door, self._host = plan.door, plan.host
        if door is None:
            return ()
        mounts = []
        if door.work is not None:
            name = work_volume(plan.generation)
            labels = {**_owned(plan.host, door.seal), LABEL_WORK: plan.generation}
            self._make(name, labels, {} if size is None else {"size": str(size)})
            mounts.append(VolumeMount(name, door.work))
        for number, place in enumerate(door.shared):
            name = shared_volume(plan.image, number)
            with self._filling:
                if name not in self._whole:
                    self._fill(name, place, plan)
                    self._whole.add(name)
            mounts.append(VolumeMount(name, place, read_only=True))
        return tuple(mounts)

    def remove_work(self, generation: Generation) -> None:
        """Remove the volume that an agent worked in; gone is a success, ``Passing`` where it is in use."""
        self._remove(work_volume(generation))

    def forget(self) -> None:
        """The Engine has restarted: whether what it was filling is whole is not known."""
        self._whole.clear()

    def works(self, host: HostId) -> tuple[Belonging, ...]:
        """Whose work volumes are there."""
        found = self._listed({LABEL_WORK: "", LABEL_BELONGS_HOST: host})
        labels = [entry.get("Labels") or {} for entry in found]
        return tuple(
            Belonging(Generation(one[LABEL_WORK]), one.get(LABEL_BELONGS_SEAL, ""))
            for one in labels
        )

    def sweep(self) -> None:
        """Remove the shared volumes whose images are gone; one that is in use stays. (Where nobody shared
        anything in this run of the manager none is looked for.)
        """
        host = self._host
        if host is None:
            return
        for entry in self._listed({LABEL_SHARED: "", LABEL_BELONGS_HOST: host}):
            name, image = entry["Name"], entry["Labels"][LABEL_SHARED]
            with self._filling, suppress(Fault):
                if not self._is_there(f"/images/{quote(image, safe='')}/json"):
                    self._whole.discard(name)
                    self._remove(name)

    def _fill(self, name: str, place: str, plan: AgentPlan) -> None:
        """Copy a directory of the image into a volume of that name; one that a container has is whole."""
        filler = f"{name}.filling"
        self._do("DELETE", f"/containers/{filler}?force=1&v=0", f"removing container {filler}")
        try:
            self._remove(name)
        except Passing:
            return  # in use, and nobody gets one to use before it is whole
        assert plan.door is not None
        self._make(name, {**_owned(plan.host, ""), LABEL_SHARED: plan.image})
        config = {
            "Image": plan.image,
            "Entrypoint": ["/bin/true"],
            "User": "0",
            "Labels": dict(NOBODYS),
            "HostConfig": {
                "NetworkMode": "none",
                "Mounts": [volume_mount(VolumeMount(name, place))],
            },
        }
        doing = f"filling the volume {name} with {place} of the image"
        made = wire.post_json(
            self._base_url,
            f"/containers/create?name={filler}",
            doing,
            config,
            timeout=FILLING,
        )
        self._do("DELETE", f"/containers/{made['Id']}?force=1&v=0", f"removing container {filler}")

    def _make(
        self, name: str, labels: Mapping[str, str], options: Mapping[str, str] | None = None
    ) -> None:
        """Make a volume; ``Refused`` where one of that name is another's."""
        doing = f"making the volume {name}"
        said = dict(options or {})
        asked = {"Name": name, "Driver": "local", "Labels": dict(labels), "DriverOpts": said}
        made = wire.post_json(
            self._base_url, "/volumes/create", doing, asked, timeout=self._timeout
        )
        if (made.get("Labels") or {}) != labels or (made.get("Options") or {}) != said:
            raise Refused(f"the volume {name} is another's: sudo docker volume rm {name}")

    def _remove(self, name: str) -> None:
        self._do("DELETE", f"/volumes/{quote(name, safe='')}", f"removing the volume {name}")

    def _is_there(self, target: str) -> bool:
        try:
            wire.get_json(self._base_url, target, "looking for an image", timeout=self._timeout)
        except Gone:
            return False
        except Refused:
            return False  # as the Engine says it of an image
        return True

    def _listed(self, labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """The volumes with those labels; of one without a value any counts."""
        wanted = [f"{name}={value}" if value else name for name, value in labels.items()]
        filters = quote(json.dumps({"label": wanted}))
        found = wire.get_json(
            self._base_url,
            f"/volumes?filters={filters}",
            "listing volumes",
            timeout=self._timeout,
        )
        return list(found.get("Volumes") or ())

    def _do(self, method: str, target: str, doing: str) -> None:
        """A change; of what is not there a success."""
        with suppress(Gone):
            wire.do(self._base_url, method, target, doing, timeout=self._timeout)


def _owned(host: HostId, seal: str) -> dict[str, str]:
    return {LABEL_BELONGS_HOST: host, LABEL_BELONGS_SEAL: seal}
