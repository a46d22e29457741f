"""The tar that a job's tree is put into its container as, read by the standard library."""

from __future__ import annotations

import io
import tarfile

from mayfly.core.tree_manifest import TreeEntry, manifest, read_manifest
from mayfly.core.workspace import Owner
from mayfly.edge.tree_archive import END, TreeArchive

NOW = 1_800_000_000.0
CONTENT = {
    "a/b/c": b"x" * 700,
    "a/d": b"",
    "z": b"z",
    "long/" + "n" * 250: b"long",
    "a\n\udcff": b"!",
}


def entries() -> list[TreeEntry]:
    files = [
        TreeEntry(path, "file", 0o755 if path == "z" else 0o644, len(data), "0" * 64)
        for path, data in CONTENT.items()
    ]
    link = TreeEntry("a/link", "link", target="../" + "t" * 200)
    return list(read_manifest(manifest([*files, link, TreeEntry("empty", "dir", 0o700)])))


def test_it_has_all_of_the_tree_owned_by_the_job_with_each_directory_before_what_is_in_it() -> None:
    archive = TreeArchive(Owner(1000, 1001), NOW)
    data = b"".join(archive.workspace(entries(), lambda entry: [CONTENT[entry.path]]))
    data += b"".join(archive.stdin([b"in", b"put"], 5)) + END
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        members = tar.getmembers()
        files = [(one, tar.extractfile(one)) for one in members if one.isfile()]
        read = {one.name: file.read() for one, file in files if file is not None}
    assert read == {f"workspace/{path}": data for path, data in CONTENT.items()} | {
        ".mayfly-stdin": b"input"
    }
    assert {(one.uid, one.gid, one.mtime) for one in members} == {(1000, 1001, int(NOW))}
    made: set[str] = set()
    for one in members:
        parent = one.name.rpartition("/")[0]
        assert not parent or parent in made, one.name
        if one.isdir():
            made.add(one.name)
    assert [one.name for one in members].count("workspace/a") == 1
    modes = {one.name: one.mode for one in members}
    assert (modes["workspace/z"], modes["workspace/a/d"]) == (0o755, 0o644)
    assert (modes["workspace/empty"], modes[".mayfly-stdin"]) == (0o700, 0o400)
    (link,) = [one for one in members if one.issym()]
    assert (link.name, link.linkname) == ("workspace/a/link", "../" + "t" * 200)
