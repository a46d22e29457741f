"""The files that ``mayfly init`` writes: which, whether they differ from what is there, and all at once.

A secret comes before the configuration that names it. What a person may have edited is never written over
unseen: the difference is shown, and the old text is kept beside as ``.bak``.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_IMODE

from mayfly.cli.trouble import Trouble
from mayfly.cli.whole_file import replace_files, text_of
from mayfly.core.plain_text import clean
from mayfly.edge import sources
from mayfly.edge.credentials import Secret

DROP_INS = Path("/etc/systemd/system/mayfly.service.d")
LOAD = "LoadCredential="
ALONE = 0o600


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are."""

    config: Path  # the main file
    # systemd hands secrets over: the configuration is the usual one, and its unit starts the manager
    unit: bool
    drop_ins: Path = DROP_INS

    @property
    def kept(self) -> Path:
        """The directory of the secrets."""
        return self.config.parent.absolute() / "credentials"

    def stored(self, credential: str) -> Path:
        """The file of a secret: the one that systemd takes it from already, where a person has said so."""
        return self.named_by_a_person(credential) or self.kept / credential

    def named_by_a_person(self, credential: str) -> Path | None:
        """What a drop-in that is not ours says of where systemd takes it from; ``None``: none does."""
        if not self.unit:
            return None
        for file in sorted(self.drop_ins.glob("*.conf")):
            if file == self.drop_in(credential):
                continue
            for line in (text_of(file) or "").splitlines():
                name, _, path = line.strip().removeprefix(LOAD).partition(":")
                if line.strip().startswith(LOAD) and name == credential and path.startswith("/"):
                    return Path(path)
        return None

    def drop_in(self, credential: str) -> Path:
        """What tells systemd of a secret."""
        return self.drop_ins / f"credential-{credential}.conf"

    def own_file(self, pool: str) -> Path:
        """The file of a pool that was added."""
        return self.config.parent / "conf.d" / f"{pool}.toml"


@dataclass(frozen=True, slots=True)
class Existing:
    """The configuration that is there already."""

    there: bool = False
    pools: Mapping[str, Path] = field(default_factory=dict)  # each with the file that begins it
    mistakes: str | None = None  # why it cannot be used; None: it can


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file as it is to be."""

    path: Path
    text: str
    secret: bool = False

    def same(self, text: str | None) -> bool:
        """Whether what is there says the same, whatever its comments are."""
        if text is None or self.path.suffix != ".toml":
            return text == self.text
        try:
            return tomllib.loads(text) == tomllib.loads(self.text)
        except tomllib.TOMLDecodeError:
            return False


def existing(config: Path) -> Existing:
    """What is there."""
    from mayfly.edge.config import ConfigError  # noqa: PLC0415  pydantic is heavy
    from mayfly.providers.configuration import load  # noqa: PLC0415

    if not config.exists():
        return Existing()
    try:
        names = {str(pool.name) for pool in load(str(config)).config.pools}
    except ConfigError as error:
        return Existing(True, {}, str(error))
    pools: dict[str, Path] = {}
    for file in sources.files(config):
        for pool in _pools_in(file):
            if pool in names:
                pools.setdefault(pool, file)
    return Existing(True, pools)


def _pools_in(file: Path) -> Iterator[str]:
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8-sig")).get("pool", [])
    except (OSError, ValueError):
        return
    yield from (str(entry.get("name")) for entry in entries if isinstance(entry, dict))


def place_of(pool: str, there: Existing, layout: Layout, *, force: bool) -> Path:
    """The file that the pool belongs into; ``Trouble`` where it stands among others' lines."""
    if there.mistakes is not None and not force:
        raise Trouble(
            f"{layout.config} exists and cannot be used; mend it, or write over it with --force:\n"
            f"{there.mistakes}"
        )
    if not there.there or there.mistakes is not None:
        return layout.config
    if pool not in there.pools:
        return layout.own_file(pool)
    if (why := unfit(pool, there)) is not None:
        raise Trouble(why)
    return there.pools[pool]


def unfit(pool: str, there: Existing) -> str | None:
    """Why no pool of that name can be written where one is; ``None``: it can."""
    file = there.pools.get(pool)
    if file is None or list(there.pools.values()).count(file) < 2:
        return None
    return (
        f'pool "{pool}" stands in {file} beside others: edit it there, or add one of another name'
    )


def secret_files(layout: Layout, credential: str, text: Secret) -> list[WantedFile]:
    """A secret where it is kept, and what tells systemd of it."""
    files = [WantedFile(layout.stored(credential), f"{text.reveal()}\n", secret=True)]
    return [*files, *drop_ins(layout, credential)]


def drop_ins(layout: Layout, credential: str) -> list[WantedFile]:
    """What tells systemd of a secret; nothing where something does already, or nobody need."""
    if not layout.unit or layout.named_by_a_person(credential) is not None:
        return []
    text = (
        "# Made by `mayfly init`: systemd hands this secret to the manager, and to nobody else.\n"
        f"[Service]\n{LOAD}{credential}:{layout.stored(credential)}\n"
    )
    return [WantedFile(layout.drop_in(credential), text)]


def changed(wanted: Sequence[WantedFile]) -> list[WantedFile]:
    """Those that are not as they are to be."""
    return [one for one in wanted if not one.same(text_of(one.path))]


def differences(wanted: Sequence[WantedFile]) -> str:
    """What would be another in files that are there; a secret is never part of it."""
    shown: list[str] = []
    for one in wanted:
        before = text_of(one.path)
        if before is None or one.secret:
            continue
        lines = difflib.unified_diff(
            before.splitlines(), one.text.splitlines(), str(one.path), "as it would be", lineterm=""
        )
        shown += [f"  {clean(line)}" for line in lines]
    return "\n".join(shown)


def write(wanted: Sequence[WantedFile]) -> None:
    """All of them or none; what is written over and was no secret is kept beside."""
    texts: dict[Path, str] = {}
    modes = {one.path: ALONE for one in wanted if one.secret}
    for one in wanted:
        before = text_of(one.path)
        if before is not None and not one.secret:
            kept = one.path.with_name(f"{one.path.name}.bak")
            texts[kept] = before
            modes[kept] = S_IMODE(one.path.stat().st_mode)  # a pool's `env` may be nobody else's
        texts[one.path] = one.text
    replace_files(texts, modes)


def handed_since(layout: Layout, began: float) -> bool:
    """Whether anything that systemd hands over was written after that time, in seconds since the epoch."""
    places = [*layout.drop_ins.glob("*.conf"), *layout.kept.glob("*")]
    return any(place.stat().st_mtime >= began for place in places)
