"""All kept outputs of this host: one thread that writes them, makes room for them, and wakes who reads.

It knows nothing of engines. Nobody waits for it: a disk may hang, and what is asked here is done in order,
later. What an agent still prints stays. Where room is needed goes the oldest of what is of the size that
takes most of it, an earlier manager's too: who prints as much as may be, again and again, pushes out their
own kind and not everybody's small outputs.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mayfly.core.model import Generation
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.output_kept import NOTE, NOTHING_KEPT, Chunk, KeptReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mayfly.edge.output_kept import KeptFile, Resume


BLOCK = 4096  # bytes of the disk that a file takes at the least


class _AtRest:
    """Ended outputs and their bytes: those of about one size together, each such class oldest first."""

    def __init__(self) -> None:
        self._sizes: dict[Generation, int] = {}
        self._classes: dict[int, dict[Generation, None]] = {}
        self._held: dict[int, int] = {}  # bytes of each class

    def add(self, generation: Generation, size: int) -> None:
        self._sizes[generation] = size
        kind = size.bit_length()
        self._classes.setdefault(kind, {})[generation] = None
        self._held[kind] = self._held.get(kind, 0) + size

    def take(self, generation: Generation) -> int | None:
        """How many bytes it had; ``None``: it is not here."""
        size = self._sizes.pop(generation, None)
        if size is not None:
            kind = size.bit_length()
            del self._classes[kind][generation]
            self._held[kind] -= size
        return size

    def first(self) -> Generation | None:
        """What goes first; ``None``: there is nothing."""
        kind = max(self._held, key=lambda one: self._held[one], default=0)
        return next(iter(self._classes.get(kind, ())), None)


class OutputStore:
    """Callbacks run on its thread and must not block; what fails there is told to ``on_failure``."""

    def __init__(
        self, directory: Path, most: int, on_failure: Callable[[str, BaseException], None]
    ) -> None:
        self._directory = directory
        self._most = most  # bytes of all outputs
        self._on_failure = on_failure
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = LastingThread(self._work, "output-keep")
        # what follows is the thread's
        self._files: dict[Generation, KeptFile] = {}  # that are written
        self._readers: dict[Generation, list[threading.Event]] = {}
        self._at_rest = _AtRest()
        self._total = 0

    # -- asked from any thread -------------------------------------------------------------

    def start(self) -> None:
        """Look at what is kept from before, and begin."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.do(self._take_stock)
        self._thread.start()

    def close(self) -> None:
        """Finish what was asked, and end."""
        self._tasks.put(None)
        self._thread.join()

    def path(self, generation: Generation) -> Path:
        """Where an agent's output is."""
        return self._directory / f"{generation}.log"

    def do(self, task: Callable[[], None]) -> None:
        """Have something done on the thread, after all that was asked before."""
        self._tasks.put(task)

    def open(
        self,
        generation: Generation,
        file: KeptFile,
        opened: Callable[[Resume], None],
        unreadable: Callable[[], None],
    ) -> None:
        """Make a file ready; ``opened`` hears from where to go on."""
        self.do(partial(self._open, generation, file, opened, unreadable))

    def write(
        self, generation: Generation, file: KeptFile, data: bytes, written: Callable[[int], None]
    ) -> None:
        """Keep whole frames; ``written`` hears of how many bytes."""
        self.do(partial(self._write, generation, file, data, written))

    def end(self, generation: Generation, file: KeptFile, ended: Callable[[], None]) -> None:
        """Mark that nothing will follow."""
        self.do(partial(self._end, generation, file, ended))

    @contextlib.contextmanager
    def listening(self, generation: Generation) -> Iterator[threading.Event]:
        """An event that is set whenever something was written of that agent."""
        bell = threading.Event()
        self.do(partial(self._listen, generation, bell))
        try:
            yield bell
        finally:
            self.do(partial(self._unlisten, generation, bell))

    def read(
        self, generation: Generation, *, live: Callable[[], bool], stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        """What is kept of an agent, on the thread of whoever reads.

        It goes on until the output has ended, ``live()`` says that nobody adds to it, or ``stop()``, both
        asked every 0.5 s. While nothing comes, a chunk without data says that all there is was read.
        """
        reader = KeptReader(self.path(generation))
        with self.listening(generation) as bell, contextlib.closing(reader):
            while not reader.ended:
                goes_on = live()
                chunks = reader.more()
                if chunks is not None:
                    yield from chunks
                elif not goes_on:
                    yield from reader.rest()
                    if not reader.found:
                        yield Chunk(NOTE, time.time(), NOTHING_KEPT)
                    return
                elif stop():
                    return
                else:
                    yield Chunk(NOTE, 0.0, b"")
                    bell.wait(0.5)
                    bell.clear()

    # -- the thread ------------------------------------------------------------------------

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception as error:  # noqa: BLE001 (one file's trouble must not end the others')
                self._on_failure("the keeping of output", error)
        for file in self._files.values():
            file.close()

    def _take_stock(self) -> None:
        """Count what an earlier manager kept, oldest first."""
        found: dict[str, tuple[float, int]] = {}
        for entry in os.scandir(self._directory):
            name, dot, _ = entry.name.partition(".log")
            if dot:
                at, size = found.get(name, (0.0, 0))
                stat = entry.stat()
                found[name] = (max(at, stat.st_mtime), size + stat.st_size)
        for name in sorted(found, key=lambda one: found[one][0]):
            size = max(found[name][1], BLOCK)
            self._at_rest.add(Generation(name), size)
            self._total += size
        self._make_room()

    def _open(
        self,
        generation: Generation,
        file: KeptFile,
        opened: Callable[[Resume], None],
        unreadable: Callable[[], None],
    ) -> None:
        before = self._at_rest.take(generation)
        already = file.kept if before is None else before
        try:
            resume = file.open()
        except OSError:  # what is kept is not known to be nothing because it cannot be read
            if before is not None:
                self._at_rest.add(generation, before)
            unreadable()
            return
        self._files[generation] = file
        self._total += file.kept - already
        if resume.ended:
            self._rest(generation, file)
        opened(resume)

    def _write(
        self, generation: Generation, file: KeptFile, data: bytes, written: Callable[[int], None]
    ) -> None:
        self._grow(file.append(data))
        written(len(data))
        self._wake_readers(generation)

    def _end(self, generation: Generation, file: KeptFile, ended: Callable[[], None]) -> None:
        self._grow(file.end())
        self._rest(generation, file)
        ended()
        self._wake_readers(generation)

    def _rest(self, generation: Generation, file: KeptFile) -> None:
        self._files.pop(generation, None)
        file.close()
        size = max(file.kept, BLOCK)
        self._at_rest.add(generation, size)
        self._grow(size - file.kept)
        self._make_room()

    def _grow(self, by: int) -> None:
        self._total += by
        if self._total > self._most:
            self._make_room()

    def _make_room(self) -> None:
        while self._total > self._most and (first := self._at_rest.first()) is not None:
            self._delete(first)

    def _delete(self, generation: Generation) -> None:
        self._total -= self._at_rest.take(generation) or 0
        path = self.path(generation)
        for segment in (path, path.with_name(path.name + ".1")):
            with contextlib.suppress(FileNotFoundError):
                segment.unlink()

    def _listen(self, generation: Generation, bell: threading.Event) -> None:
        self._readers.setdefault(generation, []).append(bell)
        bell.set()

    def _unlisten(self, generation: Generation, bell: threading.Event) -> None:
        bells = self._readers.get(generation, [])
        if bell in bells:
            bells.remove(bell)
        if not bells:
            self._readers.pop(generation, None)

    def _wake_readers(self, generation: Generation) -> None:
        for bell in self._readers.get(generation, ()):
            bell.set()
