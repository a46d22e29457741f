"""What the doctor sees of who may change what on this host; as root, on real files and accounts."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from mayfly.cli.exposure import FIRST_PERSON, LAST_PERSON, look, number_of
from mayfly.core.model import Cache, Config, Dataset, HostSpec, PoolName, PoolSpec


def of(*files: Path, **keys: object) -> Config:
    return Config(HostSpec("box"), (PoolSpec(PoolName("p"), **keys),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("user", "number"), [("1000", 1000), ("1000:44", 1000), ("runner", None), ("alice@lab", None)]
)
def test_a_user_has_a_number_on_the_host_where_its_key_says_one(
    user: str, number: int | None
) -> None:
    assert number_of(user) == number


def test_a_number_that_is_a_person_s_is_told_and_no_other() -> None:
    known = {one.pw_uid for one in pwd.getpwall()}
    free = next(number for number in range(LAST_PERSON, FIRST_PERSON, -1) if number not in known)
    service = next(one.pw_uid for one in pwd.getpwall() if 0 < one.pw_uid < FIRST_PERSON)
    for number in (free, service, 64_000):
        assert look(of(user=str(number)), ()).people == {}
    for one in pwd.getpwall():
        if FIRST_PERSON <= one.pw_uid <= LAST_PERSON:
            assert look(of(user=str(one.pw_uid)), ()).people == {one.pw_uid: one.pw_name}


def test_who_may_change_a_file_or_a_directory_above_a_source_is_found(tmp_path: Path) -> None:
    Path(tmp_path).chmod(0o755)
    file, place = tmp_path / "c.toml", tmp_path / "a/b"
    place.mkdir(parents=True)
    file.touch(mode=0o644)
    (tmp_path / "link").symlink_to(place)
    config = of(datasets=(Dataset(str(place), "/d"),), caches=(Cache(f"{tmp_path}/link", "/l"),))
    quiet = look(config, [file]).changed_by
    assert quiet == {}
    place.chmod(0o777)  # what is in a cache is the jobs' own business
    assert look(config, [file]).changed_by == {}
    file.chmod(0o666)
    assert look(config, [file]).changed_by == {str(file): str(file)}
    file.chmod(0o644)
    (tmp_path / "a").chmod(0o775)
    assert look(config, [file]).changed_by == {
        str(place): f"{tmp_path}/a",
        f"{tmp_path}/link": f"{tmp_path}/a",
    }
    (tmp_path / "a").chmod(0o1777)  # as /tmp: nobody removes what is another's
    assert look(config, [file]).changed_by == {}
    os.chown(tmp_path / "a", 4242, 0)
    assert look(config, [file]).changed_by.keys() == {str(place), f"{tmp_path}/link"}


def test_a_cache_raises_whom_it_lets_in_and_no_other(tmp_path: Path) -> None:
    cache = tmp_path / "a/c"
    cache.mkdir(parents=True)
    config = of(sudo=True, caches=(Cache(str(cache), "/c"),))
    above = [tmp_path, *tmp_path.parents]
    closed = not all(place.stat().st_mode & 0o001 for place in above)
    unraised = bool(os.statvfs(cache).f_flag & os.ST_NOSUID)
    expected = set() if closed or unraised else {str(cache)}
    assert look(config, ()).raising == expected
    (tmp_path / "a").chmod(0o700)
    assert look(config, ()).raising == frozenset()
