"""Slurm, by its own commands: salloc, scancel, squeue, scontrol, sinfo; ``slurmd -G`` for the order of GPUs.

The only caller of these. It decides nothing: it gives back and asks what it is told to, and says what the
queue shows. Each command is bounded in time and in what is read of it, gets no terminal and no input, and is
read by one grammar: what does not fit it is an error and no allocation. ``squeue --json`` has another shape
in each release, what ``--format`` prints has not, so that is what is read.

A request that waits is a process of salloc's. Where that is ended the request stays in Slurm's queue or is
taken back there; either way the queue says so, and nothing here relies on that process.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

from mayfly.core.allocations import (
    Allocation,
    AllocationsSeen,
    Ask,
    TendAllocations,
    identity,
    slot_of,
)
from mayfly.core.model import HostId, SlotName
from mayfly.core.quantities import whole_number
from mayfly.edge.faults import Passing, Refused

SECONDS = 30.0  # of one command; where the controller is down Slurm's own give up after nine
AT_ONCE = 0.5  # seconds within which a controller with nothing else to do has granted a request
SAID_MAX = 4 * 1024 * 1024  # bytes of one answer
TOLD_MAX = 400  # characters of a complaint
_ROW = re.compile(r"([0-9]+)\|([A-Z_]+)\|([0-9]+)\|([0-9]+|N/A|)\|([0-9]+|N/A|)\|([^|]*)\|([^\n]*)")
_GRES = re.compile(r"(?:GRES=|,)([^\s,()=]+)\(IDX:([0-9,-]+)\)")
_FILE = re.compile(r"\bGres Name=(\S+) .*?\bFile=(\S+)")
# Of a node that gives nothing: Slurm's words, less the marks behind them.
_UNFIT = frozenset({"down", "drained", "draining", "drain", "fail", "failing", "maint", "error"})
# Of an allocation that has its GPUs no more; a word that is not known here is none of these.
_OVER = frozenset(
    {
        *(
            "BOOT_FAIL",
            "CANCELLED",
            "COMPLETED",
            "COMPLETING",
            "DEADLINE",
            "FAILED",
            "LAUNCH_FAILED",
        ),
        *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    }
)
_TOOLS = ("salloc", "scancel", "squeue", "scontrol", "sinfo")


class Slurm:
    """Slurm as one thread uses it; one question after the other."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        kept = os.environ if environment is None else environment
        # What a variable of salloc's or squeue's would change is said by us alone.
        self._environment = {
            name: value
            for name, value in kept.items()
            if not name.startswith(("SALLOC_", "SQUEUE_", "SINFO_", "SCANCEL_", "SLURM_"))
            or name == "SLURM_CONF"
        } | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
        self._waiting: dict[SlotName, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        self._known: dict[str, tuple[int, ...]] = {}  # the GPUs of allocations: they keep them

    # -- what is done -------------------------------------------------------------------------------

    def tend(self, wanted: TendAllocations) -> AllocationsSeen:
        """Give back, ask, and look; never raises what Slurm may do to it."""
        began = time.time()
        try:
            return self._tend(wanted, began)
        except (Passing, Refused) as fault:
            return AllocationsSeen(began, None, problem=str(fault))
        except OSError as error:  # a full disk, no descriptors: no answer would be worse
            problem = f"its commands cannot be run: {error.strerror}"
            return AllocationsSeen(began, None, problem=problem)

    def _tend(self, wanted: TendAllocations, began: float) -> AllocationsSeen:
        node = wanted.node or socket.gethostname().partition(".")[0]
        if wanted.returns:
            self._give_back(wanted)
        for ask in wanted.asks:
            self._ask(ask, node)
        if wanted.asks:
            self._let_answer()
        refused = self.refusals()
        rows = self._queue(wanted.host)
        unfit = self._unfit(node)
        seen = tuple(self._with_gpus(one, node) for one in rows)
        self._known = {one.id: one.minors for one in seen if one.minors is not None}
        there = {one.id for one in rows}
        ended = {one: self._end_of(one) for one in wanted.known if one not in there}
        return AllocationsSeen(began, seen, unfit=unfit, refused=refused, ended=ended)

    def give_back_all(self, host: HostId, kept: frozenset[str]) -> None:
        """All of this host's but those ``kept``."""
        self._cancel([one for one in self._queue(host) if one.id not in kept])

    def _give_back(self, wanted: TendAllocations) -> None:
        """One that is gone already is no error, and one that has its number now is not touched."""
        self._cancel([one for one in self._queue(wanted.host) if one.id in wanted.returns])

    def _cancel(self, allocations: list[Allocation]) -> None:
        if not allocations:
            return
        code, _, told = self._run("scancel", *(one.number for one in allocations))
        if code != 0 and "Invalid job id" not in told:
            raise Passing(f"scancel fails: {_line(told)}")

    def _ask(self, ask: Ask, node: str) -> None:
        self._let_go(ask.slot)
        asked = ask.request
        options = [
            *("--no-shell", "--nodes=1", "--ntasks=1", f"--nodelist={node}"),
            *(f"--gres={asked.gres}:{ask.gpus}", f"--job-name={ask.name}"),
        ]
        if ask.minutes is not None:
            options.append(f"--time={ask.minutes}")
        names = (("partition", asked.partition), ("account", asked.account), ("qos", asked.qos))
        options += [f"--{name}={value}" for name, value in names if value is not None]
        told = tempfile.TemporaryFile()  # noqa: SIM115  read once it has ended
        try:
            process = subprocess.Popen(
                ["salloc", *options, *asked.options],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                env=self._environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            told.close()
            raise _missing("salloc", error) from error
        self._waiting[ask.slot] = (process, told)

    def _let_answer(self) -> None:
        """Most requests are granted at once, or refused."""
        until = time.monotonic() + AT_ONCE
        for process, _ in self._waiting.values():
            left = until - time.monotonic()
            if left > 0:
                try:
                    process.wait(left)
                except subprocess.TimeoutExpired:
                    return

    @property
    def ended(self) -> bool:
        """Whether a request that waited has been granted, refused or taken back."""
        return any(process.poll() is not None for process, _ in self._waiting.values())

    @property
    def waiting(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._waiting)

    def refusals(self) -> dict[SlotName, str]:
        """Why requests that have ended got nothing."""
        found = {}
        for slot, (process, told) in list(self._waiting.items()):
            if process.poll() is None:
                continue
            said = _read(told)
            del self._waiting[slot]
            taken_back = "revoked" in said or process.returncode < 0
            if process.returncode != 0 and not taken_back:
                found[slot] = _line(said)
        return found

    def _let_go(self, slot: SlotName) -> None:
        known = self._waiting.pop(slot, None)
        if known is not None:
            known[0].terminate()
            known[1].close()

    def close(self) -> None:
        """Take back what waits: salloc does that where it is told to end."""
        for slot in list(self._waiting):
            process = self._waiting[slot][0]
            self._let_go(slot)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()

    # -- what is seen -------------------------------------------------------------------------------

    def _queue(self, host: HostId) -> list[Allocation]:
        form = "%A|%T|%U|%V|%e|%r|%j"
        # Without --all a partition that is hidden, or closed to the user by now, shows none of its jobs.
        text = self._said(
            "squeue", "--all", "--noheader", f"--user={os.geteuid()}", f"--format={form}"
        )
        found = []
        for line in text.splitlines():
            row = _ROW.fullmatch(line.strip())
            if row is None:
                if f":{host}:" in line:
                    raise Passing(f"squeue prints what nobody can read: {_line(line)}")
                continue
            name, state, user, since, ends, reason, called = row.groups()
            slot = slot_of(called, host)
            if slot is None or whole_number(user) != os.geteuid():
                continue
            if state in _OVER:
                continue
            asked = float(whole_number(since) or 0)
            found.append(
                Allocation(
                    id=identity(name, asked),
                    slot=slot,
                    running=state == "RUNNING",
                    since=asked,
                    state=state,
                    reason="" if reason == "None" else reason,
                    ends=float(end) if (end := whole_number(ends)) else None,
                )
            )
        return found

    def _unfit(self, node: str) -> str:
        form = ("--noheader", "--Node", f"--nodes={node}", "--format=%T|%E")
        text = self._said("sinfo", "--all", *form)
        if not text.strip():
            return f"Slurm knows no node {node}: say which this host is, as `node` in [pool.slurm]"
        state, _, reason = text.splitlines()[0].strip().partition("|")
        if state.rstrip("*~#!%$@^-+").lower() not in _UNFIT and "*" not in state:
            return ""
        why = f": {reason}" if reason and reason != "none" else ""
        return f"Slurm has node {node} {state}{why}"

    def _with_gpus(self, one: Allocation, node: str) -> Allocation:
        """With the minor numbers of its GPUs: IDX counts the files of gres.conf in their order."""
        if not one.running:
            return one
        if one.id in self._known:
            return replace(one, minors=self._known[one.id])
        show = ("--all", "show", "job", "-d", "-o", one.number)
        text = self._said("scontrol", *show, lacking=True)
        found = _GRES.findall(text)
        if not found:
            problem = "Slurm shows no GPU of it (scontrol show job -d)"
            return replace(one, problem=problem)
        try:
            minors = self._minors(node, found[0][0], found[0][1])
        except Refused as fault:
            return replace(one, problem=str(fault))
        return replace(one, minors=minors)

    def _minors(self, node: str, gres: str, indices: str) -> tuple[int, ...]:
        _, said, told = self._run("slurmd", "-G", "-N", node)
        _, plain, also = self._run("slurmd", "-G") if "File=" not in said + told else (0, "", "")
        kind = gres.partition(":")[0]
        files = [
            file
            for name, form in _FILE.findall(f"{said}\n{told}\n{plain}\n{also}")
            if name == kind
            for file in _spread(form)
        ]
        if not files:
            raise Refused("`slurmd -G` names no device file: give the GPUs `File=` in gres.conf")
        found = []
        for index in _numbers(indices):
            if index >= len(files):
                raise Refused(f"Slurm says GPU {index}, and `slurmd -G` names {len(files)}")
            found.append(_minor(files[index]))
        return tuple(found)

    def _end_of(self, one: str) -> str:
        """How an allocation ended that is gone, as far as Slurm says."""
        called, _, since = one.partition("@")
        text = self._said("scontrol", "--all", "show", "job", "-o", called, lacking=True)
        asked = re.search(r"\bSubmitTime=([0-9]+)\b", text)
        if since and asked is not None and asked[1] != since:
            return f"Slurm has forgotten allocation {called}, and given its number again"
        state = re.search(r"\bJobState=([A-Z_]+)", text)
        reason = re.search(r"\bReason=(\S+)", text)
        if state is None:
            return f"Slurm shows allocation {called} no more"
        because = reason[1] if reason is not None and reason[1] not in ("None", "") else ""
        why = f" ({because})" if because else ""
        match state[1]:
            case "CANCELLED":
                return f"Slurm cancelled allocation {called}{why}: somebody's scancel, or an administrator"
            case "TIMEOUT":
                return f"allocation {called} was at its time limit{why}"
            case "PREEMPTED":
                return f"Slurm preempted allocation {called}{why}"
            case "NODE_FAIL":
                return f"Slurm ended allocation {called}: it thinks that this node failed{why}"
            case word:
                return f"Slurm ended allocation {called}: {word}{why}"

    # -- for the doctor -----------------------------------------------------------------------------

    def look(self, node: str | None, partition: str | None) -> dict[str, str]:
        """What stands in the way, by what was looked at; ``""``: it is well."""
        name = node or socket.gethostname().partition(".")[0]
        found: dict[str, str] = {}
        for tool in _TOOLS:
            try:
                self._run(tool, "--version")
            except (Passing, Refused) as fault:
                return {"tools": str(fault)}
        found["tools"] = ""
        try:
            code, said, told = self._run("scontrol", "ping")
            up = code == 0 and re.search(r"\bUP\b", said) is not None
            found["controller"] = "" if up else _line(told or said)
            if not up:
                return found
            found["node"] = self._unfit(name)
            form = ("--noheader", "--Node", f"--nodes={name}", "--format=%R|%G")
            rows = [
                line.strip().partition("|")
                for line in self._said("sinfo", "--all", *form).splitlines()
            ]
            ours = [gres for where, _, gres in rows if partition in (None, where)]
            found["partition"] = (
                "" if ours else f"node {name} is in no partition {partition or 'that you may see'}"
            )
            none = ours and all(gres == "(null)" for gres in ours)
            found["gres"] = (
                f"node {name} has no GRES: see gres.conf, and Gres= in slurm.conf" if none else ""
            )
        except (Passing, Refused) as fault:
            found["controller"] = str(fault)
        return found

    # -- a command ----------------------------------------------------------------------------------

    def _said(self, *command: str, lacking: bool = False) -> str:
        """What it prints; ``""`` where it says that there is no such job, if that is to be expected."""
        code, said, told = self._run(*command)
        if len(said) > SAID_MAX:
            raise Passing(f"{command[0]} prints more than anybody reads")
        if code == 0:
            return said
        if lacking and "Invalid job id" in told:
            return ""
        raise Passing(f"{command[0]} fails: {_line(told or said)}")

    def _run(self, *command: str) -> tuple[int, str, str]:
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
            try:
                code = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=told,
                    env=self._environment,
                    cwd="/",
                    timeout=SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise Passing(f"{command[0]} did not answer within {SECONDS:.0f} s") from error
            except OSError as error:
                raise _missing(command[0], error) from error
            return code, _read(said, close=False), _read(told, close=False)


def _missing(tool: str, error: OSError) -> Refused | Passing:
    if isinstance(error, FileNotFoundError):
        return Refused(f"there is no {tool} on this host: install Slurm's client commands")
    return Passing(f"{tool} cannot be run: {error.strerror}")


def _read(file: IO[bytes], *, close: bool = True) -> str:
    file.seek(0)
    text = file.read(SAID_MAX + 1).decode(errors="replace")
    if close:
        file.close()
    return text


def _line(text: str) -> str:
    """The last line that says what is wrong, less who says it; no more than a sentence holds."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line] or lines or ["it does not say why"]
    told = re.sub(r"^\w+: (?:error: )?", "", errors[-1])
    return "".join(one for one in told if one.isprintable())[:TOLD_MAX]


def _numbers(form: str) -> list[int]:
    """``0,2-3`` as 0, 2, 3."""
    found: list[int] = []
    for part in form.split(","):
        first, _, last = part.partition("-")
        begin, end = whole_number(first), whole_number(last or first)
        if begin is None or end is None or not begin <= end < begin + 1024:
            raise Refused(f"Slurm says GPUs {form}, which nobody can read")
        found += range(begin, end + 1)
    return found


def _spread(form: str) -> list[str]:
    """``/dev/nvidia[0-1,3]`` as its three files; several are separated by commas."""
    found: list[str] = []
    for part in re.findall(r"[^,\[\]]+(?:\[[0-9,-]+\])?", form):
        ranged = re.fullmatch(r"([^\[]+)\[([0-9,-]+)\]", part)
        found += [f"{ranged[1]}{number}" for number in _numbers(ranged[2])] if ranged else [part]
    return found


def _minor(file: str) -> int:
    try:
        about = Path(file).stat()
    except OSError as error:
        raise Refused(f"{file} of gres.conf cannot be looked at: {error.strerror}") from error
    if not stat.S_ISCHR(about.st_mode):
        raise Refused(f"{file} of gres.conf is no device")
    return os.minor(about.st_rdev)
