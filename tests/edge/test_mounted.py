"""What agents mount is looked at, and a file system that never answers keeps nobody waiting."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

from mayfly.core.mounts import Source
from mayfly.edge.mounted import MountedPaths, mounted_beneath, source
from mayfly.edge.mountinfo import mounts
from tests.harness import until


def test_a_path_is_told_by_what_stands_there_now(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    first = source(f"{tmp_path}/d")
    assert first == source(f"{tmp_path}/d")
    assert (first.directory, first.error) == (True, "")
    (tmp_path / "link").symlink_to("d")
    assert source(f"{tmp_path}/link") == first
    assert first.real == os.path.realpath(tmp_path / "d")
    (tmp_path / "d").rename(tmp_path / "old")
    assert source(f"{tmp_path}/d") == source(f"{tmp_path}/link") == Source("")
    (tmp_path / "d").mkdir()
    assert source(f"{tmp_path}/link") == source(f"{tmp_path}/d") != first
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("old")
    assert source(f"{tmp_path}/link") == replace(first, real=os.path.realpath(tmp_path / "old"))


MOUNTINFO = """\
22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
40 22 0:50 / /data/images rw - nfs4 server:/images rw
41 22 8:17 / /data/docker rw - xfs /dev/sdb1 rw
42 41 0:61 / /data/docker/overlay2/x/merged rw - overlay overlay rw
43 22 0:70 / /database rw - nfs4 server:/db rw
44 22 0:71 / /run/x rw - nfs4 server:/data/odd rw
"""


def test_what_is_mounted_in_a_directory_is_part_of_it_but_for_what_comes_and_goes() -> None:
    assert mounted_beneath(mounts(MOUNTINFO), "/data") == ("0:50@/data/images", "8:17@/data/docker")
    assert mounted_beneath(mounts(MOUNTINFO), "/data/images") == ()
    assert len(mounted_beneath(mounts(MOUNTINFO), "/")) == 4


def test_a_place_is_read_as_it_is_called_whatever_its_name_has() -> None:
    lines = (
        "no line of the kernel's\n45 22 0:72 / /data/\\040é\\134x rw - nfs4 server:/x rw,vers=4\n"
    )
    (one,) = mounts(lines)
    assert one.place == "/data/ é\\x"
    assert one.options == {"rw", "vers=4"}


def test_a_file_is_told_by_whether_it_holds_a_certificate(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert source(str(file)).certificates
    file.write_text("none\n")
    assert not source(str(file)).certificates
    os.mkfifo(tmp_path / "fifo")  # opening it would wait for ever
    assert not source(f"{tmp_path}/fifo").certificates
    assert source(f"{file}/beneath") == Source("")


def test_a_file_of_authorities_that_is_edited_in_its_place_is_another(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\none\n")
    before = source(str(file))
    assert source(str(file)) == before
    with file.open("r+") as same:
        same.write("-----BEGIN CERTIFICATE-----\ntwo\n")
    assert source(str(file)) != before


def test_what_does_not_answer_keeps_nobody_waiting_and_is_not_asked_again_before_it_does() -> None:
    back, asked = threading.Event(), []

    def ask(path: str) -> Source:
        asked.append(path)
        if path == "/away":
            back.wait()
        return Source("1:1", directory=True)

    mounted = MountedPaths(1.0, ask)
    answered = {"/a": Source("1:1", directory=True), "/b": Source("1:1", directory=True)}
    paths = ("/a", "/away", "/b")
    assert mounted.look(paths) == answered | {"/away": Source(None)}
    for _ in range(60):
        assert mounted.look(paths) == answered | {"/away": Source(None)}
    assert asked == [*paths, *60 * ("/a", "/b")]
    back.set()
    until(lambda: mounted.look(paths)["/away"] == Source("1:1", directory=True), "it answers")
