"""What the files of a witness say, whole, half and not at all."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.core.model import Exit, GateDeath, Generation, Witness
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.witness import MOST, MOST_FILES, Witnesses

G = Generation("g000000000001")
AT = 1_795_295_545.0  # when every file was written


@pytest.fixture
def witnesses(tmp_path: Path) -> Witnesses:
    return Witnesses(tmp_path)


def says(witnesses: Witnesses, **files: str) -> Witness | None:
    place = witnesses.make(G)
    for name, text in files.items():
        (place / name).write_text(text)
        os.utime(place / name, (AT, AT))
    return witnesses.read(G)


SPARE = " " * 32
WRITTEN = f"{'7 1':<31}\n"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, Witness()),
        ({"ready": f"{G}\n"}, Witness(ready=AT)),
        ({"ready": str(G)}, Witness()),
        ({"ready": "g000000000002\n"}, Witness()),
        ({"opened": "yes\n"}, Witness(opened=AT)),
        ({"opened": ""}, Witness()),
        ({"opened": "yes\n", "exit": "3 0\n"}, Witness(opened=AT, exit=Exit(3, 0, AT))),
        ({"opened": "yes\n", "exit": "3 -\n"}, Witness(opened=AT, exit=Exit(3, None, AT))),
        ({"opened": "yes\n", "exit": "3 0"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "3\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "x 0\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "\u00b2 0\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "\u0663 0\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "256 0\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "-1 0\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "0 0\n1 0\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "99999999999999999999999999 0\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "0 99999999999999999999999999\n"}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "", "spare": SPARE}, Witness(opened=AT)),
        ({"opened": "yes\n", "exit": "", "spare": "7 1"}, Witness(opened=AT)),
        (
            {"opened": "yes\n", "exit": "", "spare": WRITTEN},
            Witness(opened=AT, exit=Exit(7, 1, AT)),
        ),
        ({"opened": "yes\n", "spare": WRITTEN}, Witness(opened=AT, exit=Exit(7, 1, AT))),
        (
            {"opened": "yes\n", "exit": "0 0\n", "spare": WRITTEN},
            Witness(opened=AT, exit=Exit(0, 0, AT)),
        ),
        ({"opened": "yes\n", "signals": "TERM\n"}, Witness(opened=AT, signalled=True)),
        (
            {"opened": "yes\n", "signs": "one\n\xff two\n"},
            Witness(opened=AT, signs=("one", "\xff two")),
        ),
        ({"died": "70 no user nosuch\n"}, Witness(died=GateDeath(70, "no user nosuch"))),
        ({"died": f"70 {'x' * 300}\n"}, Witness(died=GateDeath(70, "x" * 300))),
        ({"died": f"70 {'x' * 301}\n"}, Witness()),
        ({"died": "70 no user nosuch"}, Witness()),
        ({"died": "256 no user nosuch\n"}, Witness()),
        ({"died": "70 no\nuser\n"}, Witness()),
        ({"died": "70 \x1b[2Jno user\n"}, Witness()),
        ({"died": "no user nosuch\n"}, Witness()),
        ({"opened": "yes\n", "died": "70 no user nosuch\n"}, Witness(opened=AT)),
    ],
)
def test_a_witness_says_what_its_files_say(
    witnesses: Witnesses, files: dict[str, str], told: Witness
) -> None:
    assert says(witnesses, **files) == told


NOBODY = (
    "0:0\n",
    "0:1000\n",
    "1000:0\n",
    "1000:00\n",
    "1000:1000",
    "1000\n",
    "root:root\n",
    "",
    "1:1\n1:1\n",
)


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("1000:1000\n", "1000:1000"),
        ("64000:64001\n", "64000:64001"),
        *((one, None) for one in NOBODY),
    ],
)
def test_the_job_user_is_one_that_is_not_root_or_none(
    witnesses: Witnesses, text: str, user: str | None
) -> None:
    place = witnesses.make(G)
    assert witnesses.user(G) is None
    (place / "user").write_text(text)
    assert witnesses.user(G) == user


def test_without_its_directory_there_is_no_witness(witnesses: Witnesses) -> None:
    assert witnesses.read(G) is None
    says(witnesses, ready=f"{G}\n")
    witnesses.remove(G)
    assert witnesses.read(G) is None
    witnesses.remove(G)


def put_pipe(at: Path) -> None:
    os.mkfifo(at)


def put_socket(at: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(at))


def put_link(at: Path) -> None:
    elsewhere = at.parent.parent / "elsewhere"
    elsewhere.write_text("0 0\n")
    at.symlink_to(elsewhere)


def put_device(at: Path) -> None:
    try:
        os.mknod(at, 0o20666, os.makedev(1, 5))  # /dev/zero, without an end
    except PermissionError:
        pytest.skip("this user may make no devices")


@pytest.mark.parametrize("name", ["ready", "opened", "exit", "died", "spare", "signals", "signs"])
@pytest.mark.parametrize("put", [Path.mkdir, put_pipe, put_socket, put_link, put_device])
def test_what_is_no_file_is_no_record(witnesses: Witnesses, name: str, put: object) -> None:
    assert callable(put)
    says(witnesses, opened="yes\n")
    at = witnesses.path(G) / name
    at.unlink(missing_ok=True)
    put(at)
    assert witnesses.read(G) == Witness(opened=None if name == "opened" else AT)


def test_a_file_that_somebody_has_a_lease_on_is_no_record(witnesses: Witnesses) -> None:
    says(witnesses, opened="yes\n", exit="3 0\n")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # what a lease's holder gets
    try:
        with (witnesses.path(G) / "exit").open("r+b") as held:
            try:
                fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError as error:
                pytest.skip(f"no leases here: {error.strerror}")
            assert witnesses.read(G) == Witness(opened=AT)
        assert witnesses.read(G) == Witness(opened=AT, exit=Exit(3, 0, AT))
    finally:
        signal.signal(signal.SIGIO, before)


def test_a_record_without_end_is_read_in_part(witnesses: Witnesses) -> None:
    says(witnesses, opened="yes\n", exit="0 0\n" + " " * 100_000, signs="line\n" * 100_000)
    told = witnesses.read(G)
    assert told is not None
    assert told.exit is None
    assert told.signs == ("line",) * 64


def test_a_directory_that_is_none_is_told(witnesses: Witnesses) -> None:
    place = witnesses.make(G)
    witnesses.remove(G)
    place.write_text("no directory")
    with pytest.raises(Passing, match="cannot read the witness"):
        witnesses.read(G)


@pytest.mark.parametrize(
    "name", ["..", "../../victim", "", "/", "g1", "G000000000001", "g00000000000é"]
)
def test_what_is_no_generation_names_no_directory(witnesses: Witnesses, name: str) -> None:
    for ask in (witnesses.read, witnesses.make, witnesses.remove):
        with pytest.raises(Refused, match="no generation"):
            ask(Generation(name))
    # Whoever looks at all containers asks this of strangers, too.
    assert not witnesses.overfull(Generation(name))


def fill(place: Path) -> None:
    (place / "exit").write_bytes(bytes(MOST + 1))


def fill_beside(place: Path) -> None:
    (place / "mine").write_bytes(bytes(MOST + 1))


def put_many(place: Path) -> None:
    for number in range(MOST_FILES):
        (place / str(number)).touch()


def put_directory(place: Path) -> None:
    (place / "below").mkdir()


@pytest.mark.parametrize("put", [fill, fill_beside, put_many, put_directory])
def test_more_than_a_launcher_writes_is_seen(witnesses: Witnesses, put: object) -> None:
    assert callable(put)
    assert not witnesses.overfull(G)
    says(witnesses, **dict.fromkeys(RECORDS, "x" * 64_000))
    assert not witnesses.overfull(G)
    put(witnesses.path(G))
    assert witnesses.overfull(G)


RECORDS = ("ready", "opened", "exit", "died", "spare", "signals", "signs")
PUTS = (Path.mkdir, put_pipe, put_socket, put_link, put_device)


# Near to what is written, so that the grammar is tried and not only its refusals.
WORDS = st.from_regex(rb"\A[0-9\xc2\xb2a-z.\- ]{0,30}( [0-9-]{1,12})? *\n?\Z")


@given(
    files=st.dictionaries(
        st.sampled_from(RECORDS),
        st.binary(max_size=80) | WORDS | st.sampled_from(PUTS[:4]),
        max_size=6,
    ),
    written=st.floats(allow_nan=False, min_value=-1e9, max_value=1e11),
)
@settings(max_examples=int(os.environ.get("MAYFLY_FUZZ", "300")))
def test_no_record_does_harm(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, bytes | Callable[[Path], None]],
    written: float,
) -> None:
    """Whatever is written there, times are near, numbers small, and nothing is raised."""
    witnesses = Witnesses(tmp_path_factory.getbasetemp() / "fuzzed")
    place = witnesses.make(G)
    (place / "spare").unlink()
    for name, said in files.items():
        if isinstance(said, bytes):
            (place / name).write_bytes(said)
        else:
            said(place / name)
        os.utime(place / name, (written, written), follow_symlinks=False)
    told = witnesses.read(G)
    assert told is not None
    times = [told.ready, told.opened, told.exit.at if told.exit else None]
    assert all(0 < at < time.time() + 86_401 for at in times if at is not None)
    assert told.died is None or (told.died.code <= 255 and told.died.words.isprintable())
    if told.exit is not None:
        assert 0 <= told.exit.code <= 255
        assert told.exit.oom_kills is None or told.exit.oom_kills < 2**31
    assert len(told.signs) <= 64
    assert witnesses.overfull(G) == any(said is Path.mkdir for said in files.values())
    witnesses.remove(G)
    assert not place.exists()


def test_the_spare_bytes_can_be_written_over_by_any_root(witnesses: Witnesses) -> None:
    place = witnesses.make(G)
    assert (place / "spare").stat().st_mode & 0o777 == 0o666
    assert (place / "spare").read_bytes() == SPARE.encode()


def test_how_long_a_job_lasts_is_written_over_whatever_lies_there(
    witnesses: Witnesses, tmp_path: Path
) -> None:
    place = witnesses.make(G)
    (tmp_path / "theirs").write_text("kept")
    (place / "lasts").symlink_to(tmp_path / "theirs")
    for text in ("90\n", "7215\n"):
        witnesses.lasts(G, text)
        assert (place / "lasts").read_text() == text
    assert (tmp_path / "theirs").read_text() == "kept"
