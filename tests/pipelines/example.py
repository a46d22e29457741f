"""The repository of docs/how-to/pipelines.md, and changes to it, each as a commit on top of `main`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/how-to/pipelines.md"
# Nothing of whoever runs the tests.
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}
PARTS = (
    *("stages/vision/resnet/train.py", "stages/vision/resnet/Makefile"),
    *("stages/vision/vit/train.py", "stages/text/bert/train.py", "stages/text/bert/README.md"),
    *("common/io.py", "docs/index.rst", "README.md", "LICENSE", "ci/registry"),
)


def block(name: str) -> str:
    """The page's block that begins with a comment of that name."""
    (found,) = re.findall(
        rf"^```\w+\n# {re.escape(name)}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(found)


def script() -> str:
    """What the areas are published by."""
    (found,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def git(folder: Path, *words: str) -> str:
    """Run git there; what it prints."""
    done = subprocess.run(
        ["git", *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(folder: Path) -> None:
    """All that is there, as one more commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "x")


def write(folder: Path, path: str, text: str = "") -> None:
    """A file, and the folders above it."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text or f"{path}\n" * 20)


def repository(folder: Path, *more: str) -> Path:
    """The example as it is on `main`, with more files; a branch of the same commit is checked out."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for path in (*PARTS, *more):
        write(folder, path)
    for area in ("vision", "text"):
        write(folder, f"ci/publish-{area}.sh", script())
    write(folder, ".mayfly.toml", block(".mayfly.toml"))
    commit(folder)
    git(folder, "checkout", "--quiet", "-b", "change")
    return folder


def _append(*paths: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in paths:
            with (folder / path).open("a") as file:
                file.write("# more\n")

    return change


def _remove(*paths: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        git(folder, "rm", "-r", "--quiet", *paths)

    return change


def _move(source: str, target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        git(folder, "mv", source, target)

    return change


def _nothing(folder: Path) -> None:
    del folder


KINDS: dict[str, Callable[[Path], None]] = {
    "a-file-of-a-stage": _append("stages/vision/resnet/train.py"),
    "files-of-two-stages": _append("stages/vision/vit/train.py", "stages/text/bert/train.py"),
    "a-new-stage": lambda folder: write(folder, "stages/text/gpt/deep/down/train.py"),
    "a-file-deleted": _remove("stages/vision/resnet/Makefile"),
    "a-stage-deleted": _remove("stages/vision/vit"),
    "a-stage-renamed": _move("stages/vision/vit", "stages/vision/swin"),
    "a-file-moved": _move("stages/vision/resnet/Makefile", "stages/text/bert/Makefile"),
    "the-script-of-an-area": _append("ci/publish-text.sh"),
    "a-shared-file": _append("common/io.py"),
    "the-file-itself": _append(".mayfly.toml"),
    "documentation": _append("docs/index.rst", "LICENSE"),
    "what-does-not-count": _append("README.md", "stages/text/bert/README.md"),
    "nothing": _nothing,
}
