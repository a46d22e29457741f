"""Writing a backup: what is in it, in which order, and that it is whole or not there."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from mayfly import __version__
from mayfly.cli.loading import load_config, translated
from mayfly.cli.trouble import Trouble
from mayfly.core.backup import SCHEMA, Manifest, Part, not_to_be_moved
from mayfly.core.model import HostSpec
from mayfly.core.quantities import rfc3339, spoken_size
from mayfly.edge import backup_state, history_backup, state_lock
from mayfly.edge.backup_archive import MANIFEST, Writer
from mayfly.edge.history import History
from mayfly.edge.history_file import FILE_NAME, is_there
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.sources import files as config_files
from mayfly.edge.sources import main_file
from mayfly.providers.installed import packages

TEMPORARY = Path("/var/tmp")  # noqa: S108  for a stream: a directory of root's alone
SHOWN = 6  # entries that are named


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the backup is to be."""

    secrets: bool
    small: bool
    move: bool


def backed_up(file: str, config: str | None, wanted: Wanted) -> Iterator[str]:
    """Write it, and say what it is, line by line."""
    main = main_file(config, os.environ)
    host = load_config(config).config.host
    state_dir = Path(host.state_dir)
    with translated():
        is_state = is_there(state_dir)
    if not is_state:
        raise Trouble(f"{state_dir} has no state: no manager has run on it yet")
    target = None if file == "-" else Path(file)
    if target is not None and os.path.lexists(target):
        raise Trouble(f"{target} is there already: name another file, or remove it")
    with ExitStack() as stack:
        stack.enter_context(translated())
        if wanted.move:
            if state_lock.is_managed(state_dir):
                raise Trouble(
                    f"a manager works on {state_dir}: stop it before the box is handed over (sudo systemctl "
                    "stop mayfly)"
                )
            stack.enter_context(state_lock.managing(state_dir))
            why = not_to_be_moved(HistoryReader(state_dir).memory())
            if why is not None:
                raise Trouble(f"this box is not handed over: {why}")
        making = _Making(main, host, state_dir, target, wanted)
        if wanted.move:
            history = History(state_dir)
            stack.callback(history.close)
            stack.enter_context(_handing_over(making, history))
        manifest = making.make()
    yield from making.told(manifest)


@contextmanager
def _handing_over(making: _Making, history: History) -> Iterator[None]:
    """The box is closed before the backup is whole, and open again where there is none in the end."""
    before = history.meta("moved")

    def hand_over(manifest: Manifest) -> None:
        told = {"at": rfc3339(manifest.taken), "backup": manifest.id}
        history.set_meta("moved", json.dumps(told))

    making.before_the_end = hand_over
    try:
        yield
    except BaseException:
        if before is None:
            history_backup.forget(history.path, ("moved",))
        raise


@dataclass(slots=True)
class _Making:
    main: Path
    host: HostSpec
    state_dir: Path
    target: Path | None  # None: standard output
    wanted: Wanted
    size: int = 0
    unknown: tuple[str, ...] = ()
    tokens: int = 0
    elsewhere: tuple[str, ...] = ()  # files with secrets that are not in it
    before_the_end: Callable[[Manifest], None] = lambda _: None

    def make(self) -> Manifest:
        beside = TEMPORARY if self.target is None else self.target.absolute().parent
        try:
            with ExitStack() as stack:
                folder = copies = stack.enter_context(backup_state.working(beside))
                if not backup_state.is_safe(beside):
                    copies = stack.enter_context(backup_state.working(TEMPORARY))
                if self.target is None:
                    manifest = self._write(copies, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
                    return manifest
                new = folder / "new"
                with os.fdopen(
                    os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb"
                ) as out:
                    manifest = self._write(copies, out)
                    out.flush()
                    os.fsync(out.fileno())
                    self.size = out.tell()
                backup_state.place(new, self.target)
                return manifest
        except FileExistsError as error:
            raise Trouble(f"{self.target} is there already: nothing was written") from error
        except OSError as error:
            what = self.target or "standard output"
            raise Trouble(
                f"{what} cannot be written: {error.strerror or error}; there is no backup"
            ) from error

    def _write(self, folder: Path, out: IO[bytes]) -> Manifest:
        taken = time.time()
        copied = history_backup.copy_history(
            self.state_dir, folder / FILE_NAME, variables=self.wanted.secrets or self.wanted.move
        )
        manifest = Manifest(
            id=secrets.token_hex(8),
            version=__version__,
            state_schema=copied.schema,
            taken=taken,
            host=self.host.name,
            machine=backup_state.machine(),
            state_dir=os.path.abspath(self.state_dir),  # noqa: PTH100  without .. and //
            moved=self.wanted.move,
            secrets=self.wanted.secrets,
            queued=copied.queued,
            running=copied.running,
            half_life=self.host.fair_share_half_life,
            without_variables=copied.without_variables,
        )
        writer = Writer(out)
        writer.text(MANIFEST, {"schema": SCHEMA, "at": rfc3339(taken), **asdict(manifest)})
        self._config(writer)
        writer.file(f"state/{FILE_NAME}", folder / FILE_NAME)
        (folder / FILE_NAME).unlink()
        for name in backup_state.databases(self.state_dir):
            history_backup.copy_database(self.state_dir / name, folder / name)
            writer.file(f"state/{name}", folder / name)
        unknown = []
        for found in backup_state.files(self.state_dir, copied.users, packages()):
            if found.part is Part.OF_THE_BOX:
                unknown.append(found.name)
            elif self._is_wanted(found.part):
                writer.file(f"state/{found.name}", found.place)
        self.unknown = tuple(unknown)
        self.before_the_end(manifest)
        writer.end()
        return manifest

    def _is_wanted(self, part: Part) -> bool:
        if part is Part.TOKENS:
            return self.wanted.secrets
        return part is not Part.BULK or not self.wanted.small

    def _config(self, writer: Writer) -> None:
        """The files that are read, and with secrets those beside them that are their owner's alone."""
        for file in config_files(self.main):
            inner = file.name if file != self.main else "config.toml"
            writer.file(f"config/{'conf.d/' if file != self.main else ''}{inner}", file)
        if not self.wanted.secrets:
            return
        own, self.elsewhere = _own(self.main)
        for inner, place in own.items():
            self.tokens += writer.file(f"secrets/{inner}", place)

    def told(self, manifest: Manifest) -> Iterator[str]:
        """What it is, line by line."""
        what = f"{self.target}: {spoken_size(self.size)}, " if self.target is not None else ""
        yield (
            f"{what}{manifest.told} with {manifest.queued} queued and {manifest.running} running jobs"
        )
        if self.wanted.secrets:
            yield (
                f"{self.tokens} files with tokens and keys are in it: keep it as you keep those (it is "
                "readable by you alone)"
            )
            if self.elsewhere:
                yield f"not in it, as no files beside the configuration: {', '.join(self.elsewhere)}"
        else:
            yield "tokens are not in it: copy what the configuration names, or take --with-secrets"
        if manifest.without_variables:
            count = len(manifest.without_variables)
            yield (
                f"the variables of {count} queued jobs are not in it, and those are not run again from it: "
                "--with-secrets"
            )
        if self.unknown:
            names = ", ".join(self.unknown[:SHOWN]) + (", …" if len(self.unknown) > SHOWN else "")
            yield f"not in it, as no part of a state: {names}"
        if self.wanted.move:
            yield (
                "this box is handed over, and starts no manager any more; to take it back: mayfly restore "
                f"--force {self.target or 'FILE'}"
            )


def _own(main: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The files with secrets beside the configuration, by their names there: those of the usual folder, and
    those that it names; and those that it names, but which are elsewhere, or not there.
    """
    folder = Path(os.path.abspath(main.parent))  # noqa: PTH100  without .. and //
    named = {
        Path(os.path.normpath(name)) for file in config_files(main) for name in _named(_tree(file))
    }
    usual = {place for place in (folder / "credentials").glob("*") if place.is_file()}
    own, elsewhere = {}, []
    for place in sorted(usual | named):
        if folder in place.parents and place.is_file() and not place.is_symlink():
            own[str(place.relative_to(folder))] = place
        else:
            elsewhere.append(str(place))
    return own, tuple(elsewhere)


def _tree(file: Path) -> object:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}


def _named(value: object) -> Iterator[str]:
    """The paths of all ``{ file = PATH }`` in it."""
    if isinstance(value, dict):
        if value.keys() == {"file"} and isinstance(value["file"], str):
            yield value["file"]
        for inner in value.values():
            yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)
