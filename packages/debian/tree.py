"""Lays out what the Debian package installs below /opt and /usr: the virtual environment, and what
`mayfly install` would write.

    python3 tree.py ROOT WHEELS…

Each WHEELS is a folder of the wheels of one Python. Their modules lie in one folder, which each Python takes
for its own: what is compiled has the Python's version in its name, and all else is the same, or this fails.
Nothing is fetched, and nothing that it writes says when or where it was written.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

HOME = "opt/mayfly"
MODULES = f"{HOME}/lib/site-packages"
PYTHON = f"/{HOME}/bin/python3"
# Of an installation by pip; another for each Python.
UNWANTED = {"RECORD", "WHEEL", "INSTALLER", "direct_url.json", "sboms"}
COMMAND = f"""#!{PYTHON} -I
import sys

from mayfly.cli.app import main

sys.exit(main())
"""
# The last line is for the package's own scripts: Python does not read it.
SETTINGS = "home = /usr/bin\ninclude-system-site-packages = false\npackage = mayfly\n"
SHIPPED = """
import sys
from pathlib import Path
from mayfly.cli import packaging
from mayfly.cli.verbs_install import package_files
root = Path(sys.argv[1])
for file in package_files(packaging.COMMAND):
    (root / file.path).parent.mkdir(parents=True, exist_ok=True)
    (root / file.path).write_text(file.text, encoding="utf-8")
"""


def main(root: Path, folders: list[Path]) -> None:
    """Write all of it below ``root``."""
    for folder in folders:
        for wheel in sorted(folder.glob("*.whl")):
            _unpack(wheel, root / MODULES)
    for folder in folders:
        own = root / HOME / "lib" / f"python{folder.name}"
        own.mkdir()
        (own / "site-packages").symlink_to("../site-packages")
    commands = root / HOME / "bin"
    commands.mkdir()
    (commands / "python3").symlink_to("/usr/bin/python3")
    _program(commands / "mayfly", COMMAND)
    (root / HOME / "pyvenv.cfg").write_text(SETTINGS, encoding="utf-8")
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/mayfly").symlink_to(f"/{HOME}/bin/mayfly")
    # In a process of its own: the modules are those that were laid out, for the Python that runs this.
    path = str((root / MODULES).resolve())
    wanted = f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {path!r})\n{SHIPPED}"
    subprocess.run([sys.executable, "-I", "-S", "-c", wanted, root], check=True)
    for page in sorted((root / "usr/share/man").glob("man*/*")):
        _compress(page)


def _unpack(wheel: Path, place: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith("/") or (where := _where(PurePosixPath(name))) is None:
                continue
            file, content = place / where, archive.read(name)
            if file.exists() and file.read_bytes() != content:
                sys.exit(f"{wheel}: {name} is another one than in the wheel of another Python")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def _where(name: PurePosixPath) -> PurePosixPath | None:
    """Where a file of a wheel belongs among the modules; ``None``: it is none of them."""
    top, *rest = name.parts
    if top.endswith(".data"):
        return PurePosixPath(*rest[1:]) if rest[0] in ("purelib", "platlib") else None
    return None if top.endswith(".dist-info") and rest[0] in UNWANTED else name


def _program(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)


def _compress(page: Path) -> None:
    page.with_name(f"{page.name}.gz").write_bytes(gzip.compress(page.read_bytes(), 9, mtime=0))
    page.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
