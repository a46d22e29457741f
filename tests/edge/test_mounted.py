"""What agents mount is looked at, and a file system that never answers keeps nobody waiting."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from mayfly.core.mounts import Source
from mayfly.edge.mounted import MountedPaths, source
from tests.harness import until


def test_a_path_is_told_by_what_stands_there_now(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    first = source(f"{tmp_path}/d")
    assert first == source(f"{tmp_path}/d")
    assert (first.directory, first.error) == (True, "")
    (tmp_path / "link").symlink_to("d")
    assert source(f"{tmp_path}/link") == first
    (tmp_path / "d").rename(tmp_path / "old")
    assert source(f"{tmp_path}/d") == source(f"{tmp_path}/link") == Source("")
    (tmp_path / "d").mkdir()
    assert source(f"{tmp_path}/link") == source(f"{tmp_path}/d") != first
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("old")
    assert source(f"{tmp_path}/link") == first


def test_a_file_is_told_by_whether_it_holds_a_certificate(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert source(str(file)).certificates
    file.write_text("none\n")
    assert not source(str(file)).certificates
    os.mkfifo(tmp_path / "fifo")  # opening it would wait for ever
    assert not source(f"{tmp_path}/fifo").certificates
    assert source(f"{file}/beneath") == Source("")


def test_what_does_not_answer_keeps_nobody_waiting_and_is_not_asked_again_before_it_does() -> None:
    back, asked = threading.Event(), []

    def ask(path: str) -> Source:
        asked.append(path)
        if path == "/away":
            back.wait()
        return Source("1:1", directory=True)

    mounted = MountedPaths(0.2, ask)
    answered = {"/a": Source("1:1", directory=True), "/b": Source("1:1", directory=True)}
    paths = ("/a", "/away", "/b")
    assert mounted.look(paths) == answered | {"/away": Source(None)}
    began = time.monotonic()
    for _ in range(20):
        assert mounted.look(paths) == answered | {"/away": Source(None)}
    assert time.monotonic() - began < 4.0, "each look waited for it again"
    assert asked.count("/away") == 1
    back.set()
    until(lambda: mounted.look(paths)["/away"] == Source("1:1", directory=True), "it answers")
