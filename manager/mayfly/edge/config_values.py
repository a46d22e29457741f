"""What a value in the configuration may be: plain functions from what TOML holds to what is meant.

Each takes what was written and returns it, checked and in one form; ``ValueError`` says what is wrong
as the end of a sentence. A value of another type passes through where pydantic refuses it anyway.
"""

from __future__ import annotations

import difflib
import ipaddress
import posixpath
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from math import inf, isfinite
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from mayfly.core.admission.image_names import registry_named
from mayfly.core.model import ULIMITS, Ulimit
from mayfly.core.quantities import NOBODY_AT_ALL, parse_duration, parse_size, whole_number
from mayfly.core.reserved_paths import target_problem
from mayfly.core.variables import problem_with_pool_name
from mayfly.edge import credentials
from mayfly.edge.token_looks import looks_like_a_token
from mayfly.edge.toml_value import toml_value

# Directory services number their accounts up to ten digits, and name them jane.doe or jane@lab.
ACCOUNT = re.compile(r"[0-9]{1,10}(:[0-9]{1,10})?|[A-Za-z_][A-Za-z0-9_.@+-]{0,63}")
IN_BYTES = frozenset(["core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"])  # ulimits
UNLIMITED = "unlimited"
_N = TypeVar("_N", int, float)
Check: TypeAlias = "Callable[[object], object]"


def text(pattern: str, otherwise: str) -> Check:
    """A check that a text has a form."""
    compiled = re.compile(pattern)

    def check(value: object) -> object:
        if isinstance(value, str) and compiled.fullmatch(value) is None:
            raise ValueError(f"{value!r} {otherwise}")
        return value

    return check


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value < 2**62:
        raise ValueError(f"{value} is out of range")
    return value


def size(value: object) -> int:
    """Bytes, from a number or from text with a unit."""
    number = _number(value)
    if number is not None:
        return int(number)
    if not isinstance(value, str):
        raise ValueError('must be a size such as "8GiB", or bytes as a number')
    return _quoted(value, parse_size)


def duration(value: object) -> float:
    """Seconds, from a number or from text with a unit."""
    number = _number(value)
    if number is not None:
        return float(number)
    if not isinstance(value, str):
        raise ValueError('must be a duration such as "30m", or seconds as a number')
    return _quoted(value, parse_duration)


def clock(value: object) -> int | str:
    """MHz, or ``"base"``."""
    if value == "base":
        return "base"
    return _megahertz(value, ', or "base"')


def memory_clock(value: object) -> int:
    """MHz."""
    return _megahertz(value, "")


def _megahertz(value: object, otherwise: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 20_000:
        return value
    raise ValueError(f"must be a frequency in MHz such as 1410{otherwise}")


def switched(value: object) -> object:
    """``true`` as a table that says nothing, ``false`` as none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


def day(value: object) -> str:
    """A day as YYYY-MM-DD, from TOML's own kind or from text."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        with suppress(ValueError):
            return date.fromisoformat(value).isoformat()
    raise ValueError("must be a day such as 2027-11-29")


def _quoted(value: str, parse: Callable[[str], _N]) -> _N:
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{value!r} {error}") from error


def or_none(parse: Callable[[object], float]) -> Callable[[object], float | None]:
    """The same, where ``"none"`` lifts the limit."""
    return lambda value: None if value == "none" else parse(value)


def number(value: object) -> float:
    """Any number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number may have any length
            if isfinite(value):
                return float(value)
    raise ValueError('must be a number, or "none"')


def above_zero(value: float | None) -> float | None:
    """A limit that leaves room for something."""
    if value is not None and value <= 0:
        raise ValueError('must be more than 0; leave it out, or write "none", for no limit')
    return value


def between(
    parse: Callable[[object], float], least: float, most: float = inf
) -> Callable[[object], float]:
    """The same within bounds, in seconds: a type that reads text itself heeds no bound of a field."""

    def bounded(value: object) -> float:
        found = parse(value)
        if not least <= found <= most:
            bound = f"at least {least:g} s" if found < least else f"at most {most:g} s"
            raise ValueError(f"must be {bound}, not {found:g} s")
        return found

    return bounded


def ulimits(value: object) -> dict[str, Ulimit]:
    """Resource limits by name: a number, ``"unlimited"``, a size where it is bytes, or soft and hard ones."""
    if not isinstance(value, dict):
        raise ValueError("must be a table such as { nofile = 1048576 }")
    return {name: _ulimit(name, said) for name, said in value.items()}


def _ulimit(name: str, said: object) -> Ulimit:
    if name not in ULIMITS:
        close = difflib.get_close_matches(name.lower()[:64], ULIMITS, n=1)
        meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(ULIMITS)}"
        raise ValueError(f"there is no limit {name!r}; {meant}")
    if isinstance(said, dict) and set(said) == {"soft", "hard"}:
        soft, hard = (_resource(name, said[which]) for which in ("soft", "hard"))
    else:
        soft = hard = _resource(name, said)
    if hard != -1 and not 0 <= soft <= hard:
        raise ValueError(f"{name}: soft is more than hard")
    return Ulimit(soft, hard)


def _resource(name: str, said: object) -> int:
    """One limit in the kernel's unit; -1, as `docker run --ulimit` has it, too: none."""
    without = said == UNLIMITED or (said == -1 and isinstance(said, int))
    if without and name != "nofile":
        return -1
    if without:
        raise ValueError("nofile cannot be unlimited: write a number, such as 1048576")
    if isinstance(said, str) and name in IN_BYTES:
        return size(said)
    if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < 2**62:
        return said
    sized = ', a size such as "8GiB"' if name in IN_BYTES else ""
    word = "" if name == "nofile" else f' or "{UNLIMITED}"'
    raise ValueError(f"{name}: must be a number{sized}{word}, or {{ soft = …, hard = … }}")


def tmpfs(value: object) -> dict[str, int]:
    """The size of each place in memory."""
    if not isinstance(value, dict):
        raise ValueError('must be a table such as { "/home/runner" = "1GiB" }')
    found: dict[str, int] = {}
    for place, said in value.items():
        where = target(place)
        number = size(said)
        if number <= 0:
            raise ValueError(f"{place!r}: a size of 0 would be the whole memory")
        found[str(where)] = number
    return found


def seccomp(value: object) -> object:
    """No profile at all, or where one is."""
    return value if value == "unconfined" else absolute(value)


def gpus(value: object) -> int | str | tuple[str | int, ...]:
    """A number of GPUs, ``"all"``, or which ones."""
    if value == "all":
        return "all"
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 64:
        return value
    if isinstance(value, list) and value and all(_is_gpu(entry) for entry in value):
        if len(set(value)) != len(value):
            raise ValueError("names a GPU twice")
        return tuple(value)
    numbers = isinstance(value, list) and [int(e) if _is_index(e) else e for e in value]
    if numbers and all(_is_gpu(entry) for entry in numbers):
        raise ValueError(f"has an index in quotes: write {toml_value(numbers)}")
    raise ValueError('must be a number, "all", or a list of "GPU-…", "MIG-…" and indexes')


def checked(problem: Callable[[str], str | None]) -> Check:
    """A check that a text is what it has to be; ``problem`` says why it is not."""

    def check(value: object) -> object:
        if isinstance(value, str) and (wrong := problem(value)) is not None:
            raise ValueError(wrong)
        return value

    return check


def _is_index(entry: object) -> bool:
    return isinstance(entry, str) and re.fullmatch(r"\d{1,2}", entry, re.ASCII) is not None


def _is_gpu(entry: object) -> bool:
    if isinstance(entry, str):
        return re.fullmatch(r"(GPU|MIG)-[0-9A-Za-z/-]{4,120}", entry) is not None
    return isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < 64


def source(value: object) -> object:
    """An absolute path in its shortest form, or what a cluster calls otherwise: ``pvc:…``, ``image:…``."""
    if isinstance(value, str) and value.startswith(("pvc:", "image:")):
        _no_nul(value)
        if ".." in value.split("/"):
            raise ValueError(f"{value!r} must not contain ..")
        return value
    return absolute(value)


def absolute(value: object) -> object:
    """An absolute path in its shortest form."""
    if isinstance(value, str):
        _no_nul(value)
        if not value.startswith("/"):
            raise ValueError(f"{value!r} must be an absolute path")
        if ".." in value.split("/"):
            raise ValueError(f"{value!r} must not contain ..")
        return "/" + posixpath.normpath(value).lstrip("/")
    return value


def _no_nul(value: str) -> None:
    if "\0" in value:
        raise ValueError("must not contain a zero byte")


def target(value: object) -> object:
    """A place in a container that is not the container's own."""
    path = absolute(value)
    if isinstance(path, str) and (problem := target_problem(path)):
        raise ValueError(problem)
    return path


def env_name(value: object) -> object:
    """The name of a variable that is not reserved."""
    if isinstance(value, str) and (problem := problem_with_pool_name(value)):
        raise ValueError(problem)
    return value


def env(value: object) -> object:
    """Variables whose names are free and whose values are no secrets."""
    if isinstance(value, dict):
        for name, content in value.items():
            env_name(name)
            if isinstance(content, str):
                _no_nul(content)
                if looks_like_a_token(content):
                    raise ValueError(
                        f"{name} looks like a secret, and a container's environment is no place "
                        "for one: mount a file as a dataset instead"
                    )
    return value


def reference(value: object) -> object:
    """A secret by reference; the text of an inline one is never repeated."""
    if isinstance(value, str):
        raise ValueError(
            'a secret is not written here; use { credential = "NAME" } or { file = "/path" }'
        )
    if not isinstance(value, dict) or set(value) not in ({"credential"}, {"file"}):
        raise ValueError('must be { credential = "NAME" } or { file = "/path" }')
    (kind, name), *_ = value.items()
    if not isinstance(name, str):
        raise ValueError(f"{kind} must be a string")
    if kind == "file":
        return {"file": absolute(name)}
    if not credentials.valid_name(name):
        raise ValueError(f"{name!r} is not a credential's name: letters, digits, . _ - only")
    return value


def registry(value: object) -> object:
    """A registry as images name it."""
    if not isinstance(value, str):
        return value
    named = registry_named(value)
    if named is None:
        raise ValueError(
            'is no registry as images name one: "registry.example:5000", in small letters, without https:// '
            "and without a path"
        )
    return named


def url(*schemes: str) -> Check:
    """A check that a text is a URL of one of these kinds, without a password in it."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            parts = urlsplit(value)
            # As it is written, too: who reads it again may know one spelling of "http" alone.
            known = parts.hostname and value.startswith(tuple(f"{one}://" for one in schemes))
        except ValueError:
            known = False
        if not known or re.search(r"[\s\0]", value):
            raise ValueError(f"must be a URL that begins with {' or '.join(schemes)}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not carry a user or password")
        if "?" in value or "#" in value:
            raise ValueError(
                "must end before its ? or #: it is an address, and no place for a token"
            )
        if looks_like_a_token(value):
            raise ValueError("looks like it holds a token, and an address is no place for one")
        return value

    return check


def docker_host(value: object) -> object:
    """The address of a unix socket."""
    if isinstance(value, str) and not re.fullmatch(r"unix:///[^\0]+", value):
        raise ValueError(f'{value!r} must be a unix socket, "unix:///var/run/docker.sock"')
    return value


def loopback(value: object) -> object:
    """A loopback address and a port."""
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        try:
            loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            loopback = False
        if not loopback or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f'{value!r} must be a loopback address and port, "127.0.0.1:9925"')
    return value


def listened(value: object) -> object:
    """An IP address of this machine, or 0.0.0.0 or [::] for all of them, and a port."""
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            host = ""
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f'{value!r} must be an IP address and a port, "0.0.0.0:9925"')
    return value


def address(value: object) -> object:
    """An IP address."""
    if isinstance(value, str):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError(f"{value!r} is not an IP address") from None
    return value


def capability(value: object) -> object:
    """A capability's name, without ``CAP_``."""
    if isinstance(value, str):
        name = value.upper().removeprefix("CAP_")
        if name == "ALL":
            raise ValueError("ALL is the host itself: name the ones that the jobs need")
        if re.fullmatch(r"[A-Z][A-Z_]{2,30}", name) is None:
            raise ValueError(f'{value!r} is not a capability; write for example "SYS_PTRACE"')
        return name
    return value


def account(value: object) -> object:
    """A user or group, by name or number, and not root."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        if ACCOUNT.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not a user or group")
        if any((whole_number(number) or 0) >= NOBODY_AT_ALL for number in value.split(":")):
            raise ValueError(
                f"{value!r} is no number of a user or group: those end at {NOBODY_AT_ALL - 1}"
            )
        if re.fullmatch(r"root|0+(:.*)?", value):
            raise ValueError("a job never runs as root; sudo = true lets it become root by itself")
        if re.fullmatch(r"[0-9]+:0+", value):
            raise ValueError(
                "a job never has root's group: files that root shares with it are many"
            )
    return value
