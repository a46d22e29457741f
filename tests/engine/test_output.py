"""The agents' output on a real Engine: complete, once, bounded, and never in a job's way."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from mayfly.core.model import ContainerId, Generation
from mayfly.engines.docker.output import OutputKeeper
from tests.engine.agents import Agents
from tests.engine.go_between import GoBetween
from tests.engine.inspecting import inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.waiting import Until
from tests.engine.private_engine import PrivateEngine

pytestmark = pytest.mark.engine

END = "(the end)"


class Kept:
    """A keeper, and what it rang: (generation, line), with END where a stream has ended."""

    def __init__(self, url: str, directory: Path, **limits: Any) -> None:
        self.generation = Generation("")
        self.rung: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self.lines: list[tuple[int, bytes]] = []
        self.keeper = OutputKeeper(
            url,
            directory,
            ring=lambda generation, line: self.rung.put((generation, line)),
            ended=lambda generation: self.rung.put((generation, END)),
            on_line=lambda _, stream, line: self.lines.append((stream, line)),
            **limits,
        )
        self.keeper.start()

    def wait(self, line: str, seconds: float = 120) -> tuple[str, str]:
        """The next ring with that line."""
        limit = time.monotonic() + seconds
        while True:
            rung = self.rung.get(timeout=limit - time.monotonic())
            if rung[1] == line:
                return rung

    def text(self, generation: Generation, stream: int = 1, *, follow: bool = False) -> bytes:
        """All that is shown of one stream."""
        chunks = self.keeper.read(generation, follow=follow)
        return b"".join(chunk.data for chunk in chunks if chunk.stream == stream)


@pytest.fixture
def kept(agents: Agents, tmp_path: Path) -> Iterator[Kept]:
    it = Kept(agents.url, tmp_path / "output")
    yield it
    it.keeper.close()


def gate(agents: Agents, cid: ContainerId) -> None:
    with agents.engine.attach_stdin(cid) as opened:
        opened.send(b"go\n")


# -- the bell and what is shown ------------------------------------------------------------------


def test_the_gates_and_the_launchers_lines_ring_and_are_not_shown(
    agents: Agents, kept: Kept
) -> None:
    script = """
        echo mayfly: at gate g; read -r _
        echo one; echo two >&2; echo mayfly: ended 0; echo three; printf foo
        echo mayfly: ended 7
    """
    cid, generation = agents.run(script, network="none")
    kept.keeper.follow(generation, cid)
    assert kept.wait("mayfly: at gate g")[0] == generation
    gate(agents, cid)
    kept.wait("mayfly: ended 0")
    kept.wait("mayfly: ended 7")
    kept.wait(END)
    assert kept.text(generation) == b"one\nmayfly: ended 0\nthree\nfoo"
    assert kept.text(generation, 2) == b"two\n"


def test_a_removed_container_ends_its_output_without_losing_any(agents: Agents, kept: Kept) -> None:
    script = "echo mayfly: at gate g; read -r _; seq 3000; echo mayfly: ended 0"
    cid, generation = agents.run(script, network="none", auto_remove=True)
    kept.keeper.follow(generation, cid)
    kept.wait("mayfly: at gate g")  # before it ends, and with that is gone, it is followed
    gate(agents, cid)
    kept.wait("mayfly: ended 0")
    kept.wait(END)
    assert kept.text(generation).split() == [b"%d" % n for n in range(1, 3001)]


def test_a_follower_reads_what_comes_until_the_end(agents: Agents, kept: Kept) -> None:
    cid, generation = agents.run(
        "echo mayfly: at gate g; echo early; read -r _; echo late; echo mayfly: ended 0",
        network="none",
    )
    kept.keeper.follow(generation, cid)
    chunks = (chunk for chunk in kept.keeper.read(generation, follow=True) if chunk.data)
    assert next(chunks).data == b"early\n"
    gate(agents, cid)
    late = list(chunks)
    assert b"".join(chunk.data for chunk in late) == b"late\n"
    assert abs(late[0].time - time.time()) < 60


def test_a_reader_stops_when_it_is_told(agents: Agents, kept: Kept) -> None:
    cid, generation = agents.run("echo a; exec sleep 300", network="none")
    kept.keeper.follow(generation, cid)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 1

    chunks = kept.keeper.read(generation, follow=True, stop=stop)
    assert b"".join(chunk.data for chunk in chunks) in (b"a\n", b"")


def test_lines_are_handed_out_one_by_one_where_they_are_asked_for(
    agents: Agents, kept: Kept
) -> None:
    cid, generation = agents.run(
        "echo a; echo b >&2; head -c 40000 /dev/zero; echo; echo c", network="none"
    )
    kept.keeper.follow(generation, cid, lines=True)
    kept.wait(END)
    assert [line for stream, line in kept.lines if stream == 1] == [b"a", bytes(40000), b"c"]
    assert [line for stream, line in kept.lines if stream == 2] == [b"b"]
    assert b"does not end with its launcher's last line" in kept.text(generation, 0)


def test_the_bell_rings_for_each_line_without_the_engine_being_asked(
    agents: Agents, tmp_path: Path
) -> None:
    script = "echo mayfly: at gate g; while read -r _; do echo mayfly: ended 0; done"
    with GoBetween(tmp_path, agents.url) as between:
        it = Kept(between.url, tmp_path / "output")
        cid, generation = agents.run(script, network="none")
        it.keeper.follow(generation, cid)
        it.wait("mayfly: at gate g")
        asked = list(between.asked)
        with agents.engine.attach_stdin(cid) as opened:
            for _ in range(30):
                opened.send(b"\n")
                it.wait("mayfly: ended 0")
        assert between.asked == asked, "each comes by itself"
        agents.engine.signal(cid, "KILL")
        it.wait(END)
        it.keeper.close()


# -- complete, whatever the bytes -----------------------------------------------------------------


def test_64_streams_are_complete_and_in_order(agents: Agents, kept: Kept) -> None:
    script = "read -r _; for n in $(seq 500); do echo out $n; echo err $n >&2; done"
    made = [agents.run(script, network="host") for _ in range(8)]
    names = []
    for cid, generation in made:
        for twin in range(8):
            names.append(Generation(f"{generation}t{twin}"))
            kept.keeper.follow(names[-1], cid)
    before = time.process_time()
    for cid, _ in made:
        gate(agents, cid)
    for _ in names:
        kept.wait(END)
    print(f"64 streams of 1,000 lines: {time.process_time() - before:.2f} s of CPU")
    for name in names:
        assert kept.text(name) == b"".join(b"out %d\n" % n for n in range(1, 501))
        assert kept.text(name, 2) == b"".join(b"err %d\n" % n for n in range(1, 501))


@pytest.mark.parametrize("end", ["", "\\n"])
def test_long_lines_and_binary_come_out_byte_for_byte(
    agents: Agents, kept: Kept, tmp_path: Path, end: str
) -> None:
    script = f"""
        {{ head -c 100000 /dev/zero | tr '\\0' x; echo
        seq 60000 | tr 0-7 "\\0-\\7"; head -c 300000 /dev/urandom; echo
        head -c 32768 /dev/urandom | tr '\\n' x; echo; echo
        head -c 40000 /dev/zero; printf '\\r\\n\\n{end}'; }} >/all
        sha256sum </all >&2; cat /all; echo mayfly: ended 0
    """
    cid, generation = agents.run(script, network="none", log_max_size=100_000_000)
    kept.keeper.follow(generation, cid)
    kept.wait(END)
    shown = kept.text(generation)
    assert hashlib.sha256(shown).hexdigest() == kept.text(generation, 2).split()[0].decode()


# The Engine cuts at 16,384 bytes; "mayfly: ended 3" and its newline are 16.
@pytest.mark.parametrize("before", [16367, 16368, 16369, 16376, 16383, 16384, 16385])
def test_the_last_line_is_found_where_the_engine_cuts_it(
    agents: Agents, kept: Kept, before: int
) -> None:
    script = f"read -r _; head -c {before} /dev/zero | tr '\\0' x; echo mayfly: ended 3"
    cid, generation = agents.run(script, network="none")
    kept.keeper.follow(generation, cid)
    gate(agents, cid)
    kept.wait("mayfly: ended 3")
    kept.wait(END)
    assert kept.text(generation) == b"x" * before


# -- restarts -------------------------------------------------------------------------------------

COUNT = (
    "read -r _; for n in $(seq 20000); do echo out $n; echo err $n >&2; done; echo mayfly: ended 0"
)


def check_count(kept: Kept, generation: Generation) -> None:
    for stream, word in ((1, b"out"), (2, b"err")):
        numbers = [int(line.split()[1]) for line in kept.text(generation, stream).splitlines()]
        assert numbers == list(range(1, 20001)), word


def other_keeper(
    url: str, directory: Path, generation: Generation, cid: ContainerId
) -> subprocess.Popen[bytes]:
    """A keeper in a process of its own, which may be killed."""
    script = f"""
        from pathlib import Path
        from mayfly.engines.docker.output import OutputKeeper
        keeper = OutputKeeper(
            {url!r}, Path({str(directory)!r}), ring=lambda *_: None, ended=lambda *_: None
        )
        keeper.start()
        keeper.follow({generation!r}, {cid!r})
        next(chunk for chunk in keeper.read({generation!r}, follow=True) if chunk.data)
        print("x", flush=True)
        input()
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What it says first."""
    assert process.stdout is not None
    return bytes(process.stdout.readline())


def ended(agents: Agents, cid: ContainerId) -> bool:
    """Whether the container has."""
    seen = inspect(agents.engine, cid)
    return seen is not None and seen.finished is not None


def test_killed_managers_lose_and_double_no_line(agents: Agents, tmp_path: Path) -> None:
    directory = tmp_path / "output"
    cid, generation = agents.run(COUNT, network="none", log_max_size=100_000_000)
    path = directory / f"{generation}.log"
    opened, size = False, -1
    for _ in range(6):
        process = other_keeper(agents.url, directory, generation, cid)
        if not opened:
            gate(agents, cid)
            opened = True
        assert first_line(process) == b"x\n"
        while path.stat().st_size <= size + 20_000 and not ended(agents, cid):
            pass
        process.kill()
        process.communicate()
        size = path.stat().st_size
    last = Kept(agents.url, directory)
    last.keeper.follow(generation, cid)
    last.wait(END)
    check_count(last, generation)
    last.keeper.close()

    again = Kept(agents.url, directory)
    again.keeper.follow(generation, cid)
    again.wait(END)
    check_count(again, generation)
    again.keeper.close()


def test_an_engine_restart_loses_and_doubles_no_line(
    private_engine: PrivateEngine, private_agents: Agents, tmp_path: Path, until: Until
) -> None:
    slowly = COUNT.replace("; done", "; if ((n % 1000 == 0)); then sleep .2; fi; done")
    it = Kept(private_engine.url, tmp_path / "output")
    cid, generation = private_agents.run(slowly, network="none", log_max_size=100_000_000)
    it.keeper.follow(generation, cid)
    gate(private_agents, cid)
    path = tmp_path / "output" / f"{generation}.log"
    until(lambda: path.exists() and path.stat().st_size > 20_000)
    private_engine.restart()
    it.wait(END)
    numbers = [int(line.split()[1]) for line in it.text(generation).splitlines()]
    doubled = len(numbers) - len(set(numbers))
    print(f"kept {len(set(numbers))} of 20,000 lines over the restart")
    assert doubled == 0
    assert numbers == sorted(numbers)
    assert numbers[-1] == 20000
    it.keeper.close()


@pytest.fixture
def astray(agents: Agents, tmp_path: Path, until: Until) -> Iterator[Callable[..., Kept]]:
    """What is kept of an ended agent that counted to 30,000, where the first answer went astray."""

    def keep(change: Callable[[list[bytes]], list[bytes]]) -> Kept:
        script = "echo mayfly: at gate g; seq 30000; echo last; echo mayfly: ended 0"
        cid, it.generation = agents.run(script, network="none")
        until(lambda: ended(agents, cid))
        between.astray[r"logs\?follow=1"] = change
        it.keeper.follow(it.generation, cid)
        it.wait(END)
        return it

    with GoBetween(tmp_path, agents.url) as between:
        it = Kept(between.url, tmp_path / "output", per_agent=512 * 1024)
        yield keep
        it.keeper.close()


def test_lines_that_the_engine_left_out_at_first_push_nothing_newer_out(
    astray: Callable[..., Kept],
) -> None:
    it = astray(lambda frames: frames[:9999] + frames[29999:])
    *numbers, last = it.text(it.generation).splitlines()
    assert last == b"last"
    assert numbers[-1] == b"30000"
    assert [int(n) for n in numbers] == sorted(int(n) for n in numbers)
    (note,) = it.text(it.generation, 0).splitlines()
    assert re.match(rb"[1-9]\d+ bytes of output are missing before here: the Engine lost", note)


@pytest.mark.parametrize("again", [1, 2, 5000])
def test_lines_that_the_engine_shows_again_are_kept_once(
    astray: Callable[..., Kept], again: int
) -> None:
    it = astray(lambda frames: frames + frames[-again:])
    *numbers, last = it.text(it.generation).splitlines()
    assert last == b"last"
    assert [int(n) for n in numbers] == list(range(int(numbers[0]), 30001))


FEW = 300_000  # bytes of one of the two files of an Engine's log
IN_A_FILE = FEW // 100  # lines, at least


def difference(got: bytes, wanted: bytes) -> str:
    """What of the wanted lines, all different, is not as it is to be."""
    lines, due = got.splitlines(), wanted.splitlines()
    missing, extra = Counter(due) - Counter(lines), Counter(lines) - Counter(due)
    order = {line: at for at, line in enumerate(due)}
    places = [order[line] for line in lines if line in order]
    back = [due[after] for before, after in pairwise(places) if after < before]
    return (
        f"{missing.total()} missing, such as {list(missing)[:3]}; {extra.total()} too many, such as"
        f" {list(extra)[:3]}; {len(back)} behind later ones, such as {back[:3]}"
    )


@pytest.fixture
def counts(agents: Agents, tmp_path: Path, until: Until) -> Iterator[Callable[..., Kept]]:
    """What is kept of an agent that does so once its gate is open, and whose log turns soon."""
    keepers = []

    def keep(script: str, url: str) -> Kept:
        start = "echo mayfly: at gate g; echo first; read -r _; "
        cid, generation = agents.run(
            f"{start}{script}; echo mayfly: ended 0", network="none", log_max_size=FEW
        )
        it = Kept(url, tmp_path / "output", log_size=FEW)
        keepers.append(it.keeper)
        it.generation = generation
        it.keeper.follow(generation, cid)
        # Who follows only once the log has turned cannot know of what was before.
        until(lambda: it.text(generation) == b"first\n")
        gate(agents, cid)
        return it

    yield keep
    for keeper in keepers:
        keeper.close()


def test_what_the_engine_passed_over_is_told(agents: Agents, counts: Callable[..., Kept]) -> None:
    it = counts("seq 300000", agents.url)
    it.wait(END)
    wanted = b"first\n" + b"".join(b"%d\n" % n for n in range(1, 300_001))
    got, notes = it.text(it.generation), it.text(it.generation, 0)
    print(difference(got, wanted), notes.decode())
    lines, due = got.splitlines(), wanted.splitlines()
    place = {line: at for at, line in enumerate(due)}
    places = [place[line] for line in lines]
    assert all(before < after for before, after in pairwise(places)), difference(got, wanted)
    assert lines[0] == b"first"
    assert lines[-IN_A_FILE:] == due[-IN_A_FILE:], difference(got, wanted)
    assert got == wanted or b"missing before here" in notes, difference(got, wanted)


AT_ONCE = (
    4545  # lines, of which a file of the log takes twice as many: it turns within and between them
)
IN_STEP = f"for n in $(seq 10); do seq ${{n}}0000 ${{n}}{AT_ONCE - 1}; read -r _; done"


def in_step(agents: Agents, it: Kept, until: Until) -> bytes:
    """Let it print more whenever all is kept and proved; what it prints in all."""
    one = it.keeper._followed[it.generation]
    wanted = b"first\n"
    with agents.engine.attach_stdin(one.container) as opened:
        for first in range(10_000, 110_000, 10_000):
            wanted += b"".join(b"%d\n" % n for n in range(first, first + AT_ONCE))
            last = wanted[wanted.rindex(b"\n", 0, -1) :]
            until(lambda last=last: it.text(it.generation).endswith(last))  # type: ignore[misc]
            until(lambda: not one.continuity.asked)
            opened.send(b"\n")
    it.wait(END)
    return wanted


def test_of_a_log_that_turns_as_fast_as_it_is_read_all_is_kept_once_and_nothing_is_told(
    agents: Agents, counts: Callable[..., Kept], until: Until
) -> None:
    it = counts(IN_STEP, agents.url)
    wanted = in_step(agents, it, until)
    got = it.text(it.generation)
    assert got == wanted, difference(got, wanted)
    assert it.text(it.generation, 0) == b""


def test_what_may_be_missing_behind_what_was_told_is_told_too(
    agents: Agents, counts: Callable[..., Kept], tmp_path: Path, until: Until
) -> None:
    with GoBetween(tmp_path, agents.url) as between:
        between.astray["&until="] = lambda _: []  # a log that has turned, whenever it is asked
        it = counts(IN_STEP, between.url)
        in_step(agents, it, until)
        chunks = list(it.keeper.read(it.generation, follow=False))
        told = [at for at, one in enumerate(chunks) if b"may be missing before here" in one.data]
        assert len(told) == 2, "once as soon as it is known, and once at the end"
        assert [one.stream for one in chunks[told[0] :]].count(1) > 0
        assert chunks[-1].stream == 0


def test_what_the_engines_log_lost_while_nobody_followed_is_told(
    agents: Agents, tmp_path: Path, until: Until
) -> None:
    script = "echo mayfly: at gate g; echo first; read -r _; seq 300000; echo mayfly: ended 0"
    cid, generation = agents.run(script, network="none", log_max_size=FEW)
    before = Kept(agents.url, tmp_path / "output", log_size=FEW)
    before.keeper.follow(generation, cid)
    until(lambda: before.text(generation) == b"first\n")
    before.keeper.close()
    gate(agents, cid)
    until(lambda: ended(agents, cid))
    after = Kept(agents.url, tmp_path / "output", log_size=FEW)
    after.keeper.follow(generation, cid)
    after.wait(END)
    assert after.text(generation).endswith(b"\n300000\n")
    assert after.text(generation, 0).count(b"may be missing before here") == 1
    after.keeper.close()


def test_a_beginning_that_was_gone_before_anybody_followed_is_told(
    agents: Agents, tmp_path: Path, until: Until
) -> None:
    script = "echo mayfly: at gate g; seq {}; echo mayfly: ended 0"
    it = Kept(agents.url, tmp_path / "output", log_size=FEW)
    told = {}
    for lines in (300_000, 3):
        cid, generation = agents.run(script.format(lines), network="none", log_max_size=FEW)
        until(lambda cid=cid: ended(agents, cid))  # type: ignore[misc]
        it.keeper.follow(generation, cid)
        it.wait(END)
        assert it.text(generation).endswith(b"%d\n" % lines)
        told[lines] = b"the first part of this output was lost" in it.text(generation, 0)
    assert told == {300_000: True, 3: False}
    it.keeper.close()


def test_without_a_descriptor_left_output_comes_late_and_whole(
    agents: Agents, tmp_path: Path, until: Until
) -> None:
    failed: list[str] = []
    it = Kept(
        agents.url, tmp_path / "output", on_failure=lambda what, error: failed.append(repr(error))
    )
    cid, generation = agents.run("seq 1000; echo mayfly: ended 0", network="none")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def tried(put: Callable[[Callable[[], None]], None]) -> None:
        """That thread has done what it was asked before."""
        done = threading.Event()
        put(done.set)
        assert done.wait(30)

    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        it.keeper.follow(generation, cid)
        tried(it.keeper._store.do)  # the file cannot be opened
        one = it.keeper._followed[generation]
        it.keeper._tell(lambda: it.keeper._ask(one))  # nor a socket be made
        tried(it.keeper._tell)
        assert one.sock is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    it.wait(END)
    assert it.text(generation) == b"".join(b"%d\n" % n for n in range(1, 1001))
    assert failed == []
    it.keeper.close()


MUCH = "yes 0123456789012345678901234567890123456789 | head -c 104857600"


# -- bounds ---------------------------------------------------------------------------------------


def test_a_stopped_manager_does_not_hold_up_a_job_of_100_mib(
    agents: Agents, tmp_path: Path, until: Until
) -> None:
    script = f"echo first; read -r _; {MUCH}; exit 5"
    cid, generation = agents.run(script, network="none")
    process = other_keeper(agents.url, tmp_path / "output", generation, cid)
    assert first_line(process) == b"x\n"
    process.send_signal(signal.SIGSTOP)
    try:
        gate(agents, cid)

        until(lambda: ended(agents, cid))
        seen = inspect(agents.engine, cid)
        assert seen is not None
        assert seen.exit_code == 5
    finally:
        process.kill()
        process.communicate()


@pytest.mark.soak
def test_100_mib_leave_a_bounded_tail_on_disk_and_in_memory(agents: Agents, tmp_path: Path) -> None:
    limit = 4 * 1024 * 1024
    it = Kept(agents.url, tmp_path / "output", per_agent=limit)
    script = f"read -r _; {MUCH}; echo last; echo mayfly: ended 0"
    cid, generation = agents.run(script, network="none", log_max_size=20_000_000)
    it.keeper.follow(generation, cid)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.monotonic(), time.process_time()
    gate(agents, cid)
    it.wait(END, 110)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"100 MiB: {time.monotonic() - began:.1f} s,"
        f" {time.process_time() - cpu:.1f} s of CPU, {grown:.0f} MiB more"
    )
    held = sum(entry.stat().st_size for entry in (tmp_path / "output").iterdir())
    assert held <= limit + 65536
    assert grown < 40
    assert it.text(generation).endswith(b"last\n")
    it.keeper.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
def test_a_full_disk_costs_output_and_nothing_else(
    agents: Agents, tmp_path: Path, until: Until
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    try:
        it = Kept(agents.url, disk / "output")
        script = "read -r _; seq 50000; echo mayfly: ended 1; read -r _; echo after; echo mayfly: ended 2"
        cid, generation = agents.run(script, network="none")
        (filler := disk / "filler").write_bytes(bytes(128 * 1024))
        it.keeper.follow(generation, cid)
        gate(agents, cid)
        it.wait("mayfly: ended 1")
        one = it.keeper._followed[generation]
        until(lambda: one.written == one.handed)
        filler.unlink()
        gate(agents, cid)
        it.wait("mayfly: ended 2")
        it.wait(END)
        assert it.text(generation).endswith(b"after\n")
        assert b"bytes of output are missing here: No space left on device" in it.text(
            generation, 0
        )
        it.keeper.close()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, which `fsfreeze` can make hang."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "fsfreeze", "losetup"))):
        pytest.skip("needs root, mkfs.ext4 and fsfreeze")
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", image, disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no loop device: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_hanging_disk_delays_no_bell_and_loses_nothing(agents: Agents, freezable: Path) -> None:
    it = Kept(agents.url, freezable / "output")
    noisy = agents.run(
        "read -r _; seq 150000; echo mayfly: ended 1; exec sleep 300",
        network="none",
        log_max_size=100_000_000,
    )
    quiet = agents.run("while read -r _; do echo mayfly: ended 2; done", network="none")
    for cid, generation in (noisy, quiet):
        it.keeper.follow(generation, cid)
    with agents.engine.attach_stdin(quiet[0]) as opened:
        opened.send(b"\n")
        it.wait("mayfly: ended 2")
        subprocess.run(["fsfreeze", "-f", freezable], check=True)
        try:
            gate(agents, noisy[0])
            for _ in range(20):
                opened.send(b"\n")
                it.wait("mayfly: ended 2")  # while the disk hangs
        finally:
            subprocess.run(["fsfreeze", "-u", freezable], check=True)
    it.wait("mayfly: ended 1")
    for cid, _ in (noisy, quiet):
        agents.engine.signal(cid, "KILL")
    it.wait(END)
    it.wait(END)
    assert it.text(noisy[1]) == b"".join(b"%d\n" % n for n in range(1, 150001))
    it.keeper.close()


def test_the_oldest_ended_output_makes_room(agents: Agents, tmp_path: Path) -> None:
    it = Kept(agents.url, tmp_path / "output", total=1_000_000)
    made = []
    for _ in range(4):
        made.append(agents.run("head -c 400000 /dev/zero; echo mayfly: ended 0", network="host"))
        it.keeper.follow(made[-1][1], made[-1][0])
        it.wait(END)
    files = [tmp_path / "output" / f"{generation}.log" for _, generation in made]
    assert [file.exists() for file in files] == [False, False, True, True]
    it.keeper.close()
    again = Kept(agents.url, tmp_path / "output", total=500_000)
    again.keeper.close()
    assert [file.exists() for file in files] == [False, False, False, True]


def test_readers_in_many_threads_see_the_same(agents: Agents, kept: Kept) -> None:
    cid, generation = agents.run("read -r _; seq 20000; echo mayfly: ended 0", network="none")
    kept.keeper.follow(generation, cid)
    seen: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: seen.append(kept.text(generation, follow=True)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    gate(agents, cid)
    for thread in threads:
        thread.join(60)
    assert seen == [b"".join(b"%d\n" % n for n in range(1, 20001))] * 4
