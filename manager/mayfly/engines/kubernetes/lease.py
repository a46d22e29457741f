"""The right to run a namespace's agents: a Lease (coordination.k8s.io/v1), which one manager holds at a time.

It is taken by whoever watches the namespace, renewed by a thread of its own, and given back at an orderly
end. Who has not renewed it for a while asks the cluster for nothing that changes anything, since another may
have it by then; who finds that another has it has to end. The clocks of two machines are never compared: a
lease has ended when nobody has renewed it for its time by the clock of whoever looks.

A manager of the same state directory on the same running kernel takes it over at once: the lock of that
directory is proof that the former one has ended. (A copy of the directory is another directory.)
"""

from __future__ import annotations

import math
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mayfly.core.quantities import number
from mayfly.edge.faults import WAIT_MOST, Fault, Passing
from mayfly.edge.lasting_thread import LastingThread
from mayfly.engines.kubernetes.api import Api, Changed
from mayfly.engines.protocol import Gone, Superseded

NAME = "mayfly"
LASTS = 40  # seconds after which one that nobody has renewed is over
RENEWED = 10.0  # seconds between two renewals
HELD = 28.0  # seconds after a renewal until which a change may begin
OVER = 38.0  # and until which it has to be over: less than LASTS
AGAIN = 2.0  # seconds between two tries of who does not have it
SOON = 5.0  # seconds for which whoever asks waits for the first try
CALL = 8.0  # seconds of a call
GIVING_BACK = 3.0
BOOT = Path("/proc/sys/kernel/random/boot_id")


def _booted() -> float:
    """Seconds, those included in which this machine was asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def holder_of(state_dir: Path) -> str:
    """Who a manager of that state directory is on this machine: ``HOST_DIRECTORY_BOOT``, the directory by
    what stands in it and by where it is, so that a copy is another one.
    """
    file = state_dir / "lease-holder"
    try:
        known = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        known = ""
    if not known:
        known = secrets.token_hex(8)
        with suppress(OSError):  # then it is another's at the next start, which waits a little
            file.write_text(f"{known}\n", encoding="ascii")
    try:
        boot = BOOT.read_text(encoding="ascii").strip()[:8]
    except OSError:
        boot = secrets.token_hex(4)
    try:
        about = state_dir.stat()
        place = f"{about.st_dev:x}-{about.st_ino:x}"
    except OSError:
        place = secrets.token_hex(8)
    return f"{socket.gethostname()}_{known}-{place}_{boot}"


class NamespaceLease:
    """The lease of one namespace; may be asked from any thread."""

    def __init__(self, api: Api, namespace: str, clock: Callable[[], float] = _booted) -> None:
        """``api`` is the lease's own: nothing else keeps its connections busy."""
        self._api = api
        self._namespace = namespace
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._clock = clock
        self._holder = ""  # "": nobody has asked for it
        self._until: float | None = None  # when what is held must be renewed; None: never held
        self._version = ""  # of the record that we wrote last; "": not known
        self._transitions = 0  # in that record
        self._given_back = False
        self._why = ""
        self._lost = ""  # why it is another's for good; "": it is not
        self._seen: tuple[str, float] | None = None  # another's record, and since when it is so
        self._turned: Callable[[bool, str], None] = lambda _, __: None
        self._tried = threading.Event()
        self._stopping = threading.Event()
        self._thread = LastingThread(self._run, "engine-lease")

    def begin(self, holder: str, turned: Callable[[bool, str], None]) -> None:
        """Take it as soon as it is free; ``turned`` hears that it was waited for and is held, or is lost."""
        if not self._holder:
            self._holder, self._turned = holder, turned
        self._thread.start()

    def assure(self) -> float:
        """How many seconds a change may take that begins now; without end where nobody has asked for it.
        ``Superseded`` where another has taken it over, ``Passing`` where it is not known to be held now.
        """
        if not self._holder:
            return math.inf
        self._tried.wait(SOON)
        if self._lost:
            raise Superseded(self._lost)
        if self._given_back:
            raise Passing(
                f"the lease of namespace {self._namespace} is given back: this manager ends"
            )
        now = self._clock()
        if self._until is None or now > self._until:
            raise Passing(self._why or f"the lease of namespace {self._namespace} is asked for")
        return self._until + OVER - HELD - now

    def end(self) -> None:
        """Renew it no more, and give it back."""
        if not self._holder:
            return
        self._given_back = True  # before: who asks from now on may change nothing
        self._stopping.set()
        self._thread.join(CALL)
        if self._until is not None and not self._lost:
            with suppress(Fault):
                self._give_back()
        self._api.close()

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            held = self._until is not None
            waited = self._tried.is_set() and not held
            try:
                renewed = self._once()
            except Fault as fault:
                renewed = False
                self._why = f"the lease of namespace {self._namespace} is not renewed: {fault}"
            self._tried.set()
            if self._lost:
                self._turned(False, self._lost)
                return
            if renewed and waited:
                self._turned(True, "")
            self._stopping.wait(RENEWED if renewed else AGAIN)

    def _once(self) -> bool:
        """Take it or renew it; whether it is held now."""
        if self._version:
            version, self._version = self._version, ""
            with suppress(
                Changed, Gone
            ):  # somebody else wrote it, or an answer did not come: it is seen
                return self._written({"resourceVersion": version}, self._transitions)
        try:
            found = self._api.call("GET", f"{self._path}/{NAME}", "looking at the lease")
        except Gone:
            return self._written(None, 0)
        spec = found.get("spec") or {}
        other = str(spec.get("holderIdentity") or "")
        mine = other == self._holder
        if self._until is not None and not mine:
            self._lost = (
                f"another manager has taken over namespace {self._namespace} ({other or 'it has ended'}), "
                "after this one had not renewed its lease: this one ends; agents go on"
            )
            return False
        if not (mine or self._is_free(other, found, spec)):
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + (0 if mine else 1)
        # A version that is not the newest is a conflict: whoever was quicker has it, and is seen next time.
        return self._written(found.get("metadata") or {}, transitions)

    def _written(self, about: Mapping[str, Any] | None, transitions: int) -> bool:
        """Write that it is ours, over the record of which that is ``about``; ``None``: there is none."""
        began = self._clock()
        body = self._record(about or {}, transitions=transitions)
        if about is None:
            said = self._api.call("POST", self._path, "making the lease", body=body)
        else:
            said = self._api.call("PUT", f"{self._path}/{NAME}", "renewing the lease", body=body)
        self._until, self._seen = began + HELD, None
        self._version = str((said.get("metadata") or {}).get("resourceVersion") or "")
        self._transitions = transitions
        return True

    def _is_free(self, other: str, found: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
        if not other or _machine_of(other) == _machine_of(self._holder):
            return True
        record = f"{other} {(found.get('metadata') or {}).get('resourceVersion')}"
        now = self._clock()
        if self._seen is None or self._seen[0] != record:
            self._seen = (record, now)
        lasts = min(number(spec.get("leaseDurationSeconds")) or LASTS, WAIT_MOST)
        if now - self._seen[1] > lasts:
            return True
        self._why = (
            f"namespace {self._namespace} is run by another manager ({other.partition('_')[0]}): this one "
            f"waits until that one has ended, or has been silent for {lasts:g} s"
        )
        return False

    def _record(
        self,
        about: Mapping[str, Any],
        *,
        transitions: int,
        holder: str | None = None,
        lasts: int = LASTS,
    ) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        metadata = {"name": NAME, "namespace": self._namespace}
        if about.get("resourceVersion"):
            metadata["resourceVersion"] = str(about["resourceVersion"])
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._holder if holder is None else holder,
                "leaseDurationSeconds": lasts,
                "leaseTransitions": transitions,
                "renewTime": now,
            },
        }

    def _give_back(self) -> None:
        found = self._api.call(
            "GET", f"{self._path}/{NAME}", "looking at the lease", within=GIVING_BACK
        )
        spec = found.get("spec") or {}
        if spec.get("holderIdentity") == self._holder:
            body = self._record(
                found.get("metadata") or {},
                transitions=int(spec.get("leaseTransitions") or 0),
                holder="",
                lasts=1,
            )
            self._api.call(
                "PUT",
                f"{self._path}/{NAME}",
                "giving the lease back",
                body=body,
                within=GIVING_BACK,
            )


def _machine_of(holder: str) -> list[str]:
    """Directory and boot, which say whose lock of a state directory it is."""
    return holder.rsplit("_", 2)[1:]
