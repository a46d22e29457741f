"""Making a box of a backup: everything is looked at before anything is changed, and what was here is kept."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mayfly.cli.confirming import confirm
from mayfly.cli.loading import load_config, translated
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.apply import apply
from mayfly.core.backup import (
    BESIDE,
    IDENTITY,
    KEPT_ASIDE,
    OF_ONE_RUN,
    Manifest,
    Part,
    is_written,
    manifest_from,
    part_of,
    unusable,
    why_lost,
)
from mayfly.core.backup import restored as recorded
from mayfly.core.memory import Memory
from mayfly.core.model import JobId
from mayfly.core.plain_text import clean
from mayfly.edge import backup_state, history_backup, state_lock
from mayfly.edge.backup_archive import Reader
from mayfly.edge.history import History
from mayfly.edge.history_file import FILE_NAME, SCHEMA_VERSION, is_there
from mayfly.edge.sources import files as config_files
from mayfly.edge.sources import main_file
from mayfly.edge.workspaces import Bounds, Workspaces
from mayfly.providers.installed import packages

STAGED = ".restoring-"
NAMED = "99-restored-name.toml"  # a drop-in, so that no file is edited
CONFIG_MODE, SECRET_MODE = 0o644, 0o600  # of ours, and of what is secret wherever it stood
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for beside the file."""

    resume: bool
    named: str | None
    config: bool  # the configuration, too
    force: bool
    yes: bool


def restored(file: str, config: str | None, asked: Asked) -> Iterator[str]:
    """Restore, and say what was, line by line."""
    what = "standard input" if file == "-" else file
    if asked.named is not None and not HOST_NAME.fullmatch(asked.named):
        raise Usage(
            f"--as: {asked.named!r} is no name of a box: letters, digits and -, not - first, 63 "
            "at most"
        )
    if asked.named is not None and not asked.config:
        raise Usage(
            "--as is written into the configuration, which --without-config leaves as it is"
        )
    with ExitStack() as stack:
        stack.enter_context(translated())
        try:
            source = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise Trouble(f"{what} cannot be read: {error.strerror}") from error
        reader = Reader(source, what)
        manifest = _manifest(reader, what)
        main = main_file(config, os.environ)
        state_dir = Path(manifest.state_dir)
        if not asked.config:
            own = load_config(config).config.host.state_dir
            state_dir = Path(os.path.abspath(own))  # noqa: PTH100  without .. and //
        box = _Box(main, state_dir, manifest, asked)
        try:
            yield from box.restore(reader, stack)
        except OSError as error:
            raise Trouble(
                f"{error.filename or state_dir} cannot be written: {error.strerror or error}; what was here "
                f"is {box.standing}"
            ) from error


def _manifest(reader: Reader, what: str) -> Manifest:
    told = reader.manifest
    why = unusable(
        told.get("schema"), told.get("state_schema"), told.get("version"), SCHEMA_VERSION
    )
    if why is not None:
        raise Trouble(f"{what} {why}")
    manifest = manifest_from(told)
    if manifest is None:
        raise Trouble(f"{what} is damaged: it does not say what it is. Nothing was changed")
    return manifest


@dataclass(slots=True)
class _Box:
    """The box that is to be made."""

    main: Path
    state_dir: Path
    backup: Manifest
    asked: Asked
    aside: Path | None = None
    touched: bool = False
    lost: int = 0
    queued: int = 0
    modes: dict[Path, int] = field(default_factory=dict)  # of the configuration's files

    @property
    def standing(self) -> str:
        """What has become of what was here."""
        if not self.touched:
            return "as it was"
        return f"in {self.aside}" if self.aside is not None else "partly replaced: restore again"

    def restore(self, reader: Reader, stack: ExitStack) -> Iterator[str]:
        """All of it; nothing is changed before everything was looked at."""
        if state_lock.is_managed(self.state_dir):
            raise Trouble(
                f"a manager works on {self.state_dir}: stop it first (sudo systemctl stop mayfly)"
            )
        self._refuse_existing()
        self._refuse_other_folder()
        made = not self.state_dir.exists()
        stack.enter_context(state_lock.managing(self.state_dir))
        for left in self.state_dir.glob(f"{STAGED}*"):
            shutil.rmtree(left, ignore_errors=True)
        staged = self.state_dir / f"{STAGED}{self.backup.id}"
        staged.mkdir(mode=0o700)
        try:
            taken = partial(is_written, providers=packages(), secrets=self.backup.secrets)
            for _ in reader.unpack(staged, taken):
                pass
            if not (staged / "state" / FILE_NAME).exists():
                raise Trouble("the backup has no state in it: it is none of `mayfly backup`'s")
            texts = self._texts(staged)
            self._refuse_other_config(texts)
            self._refuse_name(texts)
            self._ask()
            self._recorded(staged / "state")
            self._change(staged, texts)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
            if made and not self.touched:
                shutil.rmtree(self.state_dir, ignore_errors=True)
        yield from self._summary()

    # -- what is refused --------------------------------------------------------------------------

    def _refuse_existing(self) -> None:
        if is_there(self.state_dir) and not self.asked.force:
            raise Trouble(
                f"{self.state_dir} has a state already: --force puts it aside, into a folder {KEPT_ASIDE}… "
                "there, and restores"
            )

    def _refuse_other_folder(self) -> None:
        """A backup says where it belongs; a folder of something else would become root's alone."""
        if not self.state_dir.is_dir():
            return
        there = [one.name for one in self.state_dir.iterdir() if not one.name.startswith(".")]
        if there and not any(name in BESIDE or part_of(name, packages()) for name in there):
            raise Trouble(
                f"the state belongs in {self.state_dir}, and what is in there is nothing of Mayfly's: empty "
                "it, or name another host.state_dir in a configuration here and take --without-config"
            )

    def _texts(self, staged: Path) -> dict[Path, bytes]:
        """The files of the configuration, by where they are for."""
        if not self.asked.config:
            return {}
        found = {}
        for place in (staged / "config").rglob("*"):
            if place.is_file():
                inner = place.relative_to(staged / "config")
                target = self.main if str(inner) == "config.toml" else self.main.parent / inner
                found[target] = place.read_bytes()
                # A configuration that is root's alone, for what it says, stays so.
                self.modes[target] = (place.stat().st_mode & 0o755) | 0o600
        if self.asked.named is not None:
            text = f'# Written by `mayfly restore --as`.\n[host]\nname = "{self.asked.named}"\n'
            found[self.main.parent / "conf.d" / NAMED] = text.encode()
            self.modes[self.main.parent / "conf.d" / NAMED] = CONFIG_MODE
        for place in (staged / "secrets").rglob("*"):
            if place.is_file():
                found[self.main.parent / place.relative_to(staged / "secrets")] = place.read_bytes()
        return found

    def _refuse_other_config(self, texts: Mapping[Path, bytes]) -> None:
        if self.asked.force or not texts:
            return
        others = [place for place in config_files(self.main) if place.exists()]
        changed = [place for place in {*texts, *others} if _differs(place, texts.get(place))]
        if changed:
            names = ", ".join(sorted(map(str, changed)))
            raise Trouble(
                f"{names} says something else than the backup: --without-config leaves it as it is, --force "
                "puts it aside"
            )

    def _refuse_name(self, texts: Mapping[Path, bytes]) -> None:
        """Two boxes of one name are one to a service."""
        if self.backup.moved or self._is_same or self.asked.named is not None:
            return
        named = next(filter(None, (_host_name(text) for text in texts.values())), None)
        if named is not None:
            raise Trouble(
                f"the configuration in it calls this box {named}, as the box that it is of: --as NAME gives "
                f"this one a name of its own, --as {named} the same where that one is gone for good"
            )

    @property
    def _is_same(self) -> bool:
        """Whether it is the box that the backup is of."""
        here = (backup_state.machine(), str(self.state_dir))
        return bool(here[0]) and here == (self.backup.machine, self.backup.state_dir)

    def _ask(self) -> None:
        """Whether what is queued may run, where nobody but a person can know."""
        clean = self.backup.moved and not is_there(self.state_dir)
        if not self.asked.resume or self.asked.yes or clean or not self.backup.queued:
            return
        why = (
            f"{self.backup.queued} jobs were queued in {self.backup.told}, and may have run since; --resume "
            "runs them again"
        )
        told = f"{why}: say --yes where that is meant"
        confirm(f"{why}. Run them?", unasked=told, unchanged="nothing was changed")

    # -- what is done -----------------------------------------------------------------------------

    def _recorded(self, state: Path) -> None:
        """The same as ``_record``; ``Trouble`` where that is no state as Mayfly writes it."""
        for name in (FILE_NAME, *backup_state.databases(state)):
            history_backup.refuse_foreign(state / name)
        try:
            self._record(state)
        except history_backup.NO_STATE as error:
            raise Trouble(
                f"the state in the backup cannot be read ({clean(str(error))}): take an older backup. "
                "Nothing was changed"
            ) from error

    def _record(self, state: Path) -> None:
        """Make the state that was unpacked true here."""
        own = history_backup.identity(self.state_dir / FILE_NAME, IDENTITY)
        goes_along = self.backup.moved or self._is_same
        forgotten = OF_ONE_RUN if own or goes_along else (*OF_ONE_RUN, *IDENTITY)
        if not goes_along:  # what services gave the other box once is that one's
            for name in packages():
                shutil.rmtree(state / name, ignore_errors=True)
        with closing(History(state)) as history:
            memory = history.load()
            unsent = _unsent(state, memory)
            found = recorded(
                memory,
                self.backup,
                why_lost(self.backup, unsent),
                time.time(),
                resumed=self.asked.resume,
            )
            after = apply(memory, found.ends)
            history.commit(found.ends, after)
            history.commit(found.gone, apply(after, found.gone))
            for key, value in own.items():
                history.set_meta(key, value)
        history_backup.forget(state / FILE_NAME, forgotten)
        self.queued = sum(1 for job in after.jobs.values())
        self.lost = len(memory.jobs) - len(after.jobs)

    def _change(self, staged: Path, texts: Mapping[Path, bytes]) -> None:
        here = sorted(
            entry.name
            for entry in self.state_dir.iterdir()
            if part_of(entry.name, packages()) not in (Part.OF_THE_BOX, None)
            or _of_history(entry.name)
        )
        replaced = [place for place, text in texts.items() if _differs(place, text)]
        former = [
            place
            for place in config_files(self.main)
            if texts and place.exists() and place not in texts
        ]
        self.touched = True
        backup_state.begin_changing(self.state_dir)
        if here or replaced or former:
            at = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            self.aside = backup_state.aside(self.state_dir, here, f"{KEPT_ASIDE}{at}")
            for place in (*replaced, *former):
                kept = self.aside / "config" / place.relative_to(self.main.parent)
                kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copy2(place, kept)
        for place in former:
            place.unlink()
        for place, text in texts.items():
            _write(place, text, self.modes.get(place, SECRET_MODE))
        backup_state.put_in_place(staged / "state", self.state_dir)

    def _summary(self) -> Iterator[str]:
        yield f"{self.state_dir} is restored from {self.backup.told}"
        if self.aside is not None:
            yield f"what was here is in {self.aside}"
        if self.lost:
            yield (
                f"{self.lost} jobs are recorded as lost, since they ran then or cannot be run from it: "
                "mayfly jobs --state lost"
            )
        if not self.backup.secrets:
            yield "tokens were not in it: mayfly doctor says which are missing"
        start = "sudo systemctl start mayfly"
        if self.asked.resume:
            yield f"{self.queued} jobs are queued, and run once the manager is started: {start}"
        elif self.queued:
            yield (
                f"{self.queued} jobs are queued, and none runs before `mayfly resume`: {start}, look at "
                "`mayfly jobs`, cancel what has run elsewhere, then resume"
            )
        else:
            yield f"the manager only observes before `mayfly resume`: {start}"


def _unsent(state: Path, memory: Memory) -> list[JobId]:
    """The queued jobs that bring what is not here."""
    there = Workspaces(state / "workspaces", Bounds(0, 0, 0), lambda: ())
    return [
        job.id
        for job in memory.jobs.values()
        if job.agent is None
        and job.uid is not None
        and there.unsent(job.uid, job.workspace, job.stdin)
    ]


def _of_history(name: str) -> bool:
    """Whether it is the history or stands beside it: of another history that would be its ruin."""
    return name.startswith((FILE_NAME, "idle.db"))


def _differs(place: Path, text: bytes | None) -> bool:
    """Whether something else stands there; not where nothing does."""
    try:
        return place.read_bytes() != text
    except FileNotFoundError:
        return False


def _host_name(text: bytes) -> str | None:
    """What a file of the configuration calls the box; ``None``: it does not say."""
    try:
        tree: Any = tomllib.loads(text.decode("utf-8-sig"))
        name = tree["host"]["name"]
    except (ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _write(place: Path, text: bytes, mode: int) -> None:
    """Whole or not at all."""
    place.parent.mkdir(mode=0o700 if mode == SECRET_MODE else 0o755, parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.restored")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, mode), "wb") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    new.replace(place)
