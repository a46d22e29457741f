"""Reading what a client sent: every value has a type and a bound, and what has neither is refused.

A ``BadRequest`` says in one sentence which parameter is wrong. Nothing here knows whether a slot or a
job exists; that is the loop's to say.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping

from mayfly.core.attaching import SIDE_MAX, TYPE
from mayfly.core.job_images import BY_ID, NAME, tagged
from mayfly.core.model import JobState, Priority
from mayfly.core.quantities import parse_time
from mayfly.core.runs import PATH_MAX
from mayfly.core.tree_manifest import DIGEST
from mayfly.core.variables import problem_with_name, problem_with_value
from mayfly.core.workspace import place_of

NAME_MAX = 128
NOTE_MAX = 500
LIST_MAX = 1000
OUT_MAX = 16
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")
CUDA = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")
IMAGE_MAX = 255
ARGV_BYTES = 256 * 1024
ENV_BYTES = 256 * 1024
# of one argument, or one variable with its name: the kernel's MAX_ARG_STRLEN
ONE_BYTES = 128 * 1024


class BadRequest(Exception):
    """What the client sent cannot be meant; in one sentence."""


def document(body: bytes, known: tuple[str, ...]) -> Mapping[str, object]:
    """The JSON object in a body, with no key but the known ones; an empty body is ``{}``."""
    if not body.strip():
        return {}
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    _known_only(value, known, "the body")
    return value


def keys(value: object, known: tuple[str, ...]) -> Mapping[str, object]:
    """An object within a body, with no key but the known ones."""
    if not isinstance(value, dict):
        raise BadRequest("must be a JSON object")
    _known_only(value, known, "it")
    return value


def known_query(query: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Refuse parameters that this path does not have."""
    _known_only(query, known, "this path")


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _known_only(given: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key[:64], known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
            raise BadRequest(f"{where} has no {key[:64]!r}" + (hint if known else ""))


def text(value: object, key: str, limit: int = NAME_MAX) -> str | None:
    """A string of at most ``limit`` characters, or ``None`` for null and absent."""
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > limit or "\0" in value:
        raise BadRequest(f"{key} must be a text of 1 to {limit} characters")
    _encodable(value, key)
    return value


def flag(value: object, key: str) -> bool:
    """``true`` or ``false``; absent is false."""
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadRequest(f"{key} must be true or false")


def names(value: object, key: str) -> tuple[str, ...] | None:
    """A list of names, each once and in the order given; ``None`` for null and absent."""
    if value is None:
        return None
    if not isinstance(value, list) or not 0 < len(value) <= LIST_MAX:
        raise BadRequest(f"{key} must be a list of 1 to {LIST_MAX} names")
    return tuple(dict.fromkeys(_required_text(entry, key) for entry in value))


def _required_text(value: object, key: str) -> str:
    found = text(value, key)
    if found is None:
        raise BadRequest(f"{key} must not contain null")
    return found


def commit(value: object, key: str) -> str | None:
    """A commit by its whole id; ``None`` for null and absent."""
    found = text(value, key)
    if found is not None and COMMIT.fullmatch(found) is None:
        raise BadRequest(f"{key} must be a whole commit id: 40 or 64 hexadecimal digits")
    return found


def places(value: object, key: str, before: int, most: int) -> tuple[int, ...]:
    """Places in a list, each once, of what stands ``before`` one of its entries; absent is none."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > most:
        raise BadRequest(f"{key} must be a list of at most {most} places")
    for one in value:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < before:
            raise BadRequest(f"{key} must have places of tasks before this one, from 0")
    return tuple(dict.fromkeys(value))


def argv(value: object) -> tuple[str, ...]:
    """A command and its arguments."""
    if not isinstance(value, list) or not value or not all(isinstance(a, str) for a in value):
        raise BadRequest("argv must be a list of texts, the command first")
    if not value[0]:
        raise BadRequest("argv names no command")
    if any("\0" in argument for argument in value):
        raise BadRequest("argv must not contain a zero byte")
    _encodable("".join(value), "argv")
    if sum(len(argument.encode()) + 1 for argument in value) > ARGV_BYTES:
        raise BadRequest(f"argv is longer than {ARGV_BYTES // 1024} KiB")
    if any(len(argument.encode()) >= ONE_BYTES for argument in value):
        raise BadRequest(f"an argument has to be shorter than {ONE_BYTES // 1024} KiB")
    return tuple(value)


def env(value: object) -> dict[str, str]:
    """Variables of a job; absent is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest("env must be an object of texts")
    for name, content in value.items():
        if problem := problem_with_name(name):
            raise BadRequest(f"env: {problem}")
        if not isinstance(content, str):
            raise BadRequest(f"env: {name} must be a text")
        if problem := problem_with_value(content):
            raise BadRequest(f"env: {name} {problem}")
        _encodable(content, f"env: {name}")
    if sum(len(name) + len(content.encode()) for name, content in value.items()) > ENV_BYTES:
        raise BadRequest(f"env is longer than {ENV_BYTES // 1024} KiB")
    for name, content in value.items():
        if len(name) + len(content.encode()) + 1 >= ONE_BYTES:
            raise BadRequest(f"env: {name} has to be shorter than {ONE_BYTES // 1024} KiB")
    return dict(value)


def job_name(value: object) -> str | None:
    """What a person calls a job; ``None`` for null and absent."""
    found = text(value, "name")
    if found is not None and JOB_NAME.fullmatch(found) is None:
        raise BadRequest(
            "name must be 1 to 64 letters, digits, dots, slashes, underscores and hyphens, a letter or digit"
            " first"
        )
    return found


def digest(value: object, key: str) -> str | None:
    """A SHA-256 in hexadecimal; ``None`` for null and absent."""
    found = text(value, key)
    if found is not None and DIGEST.fullmatch(found) is None:
        raise BadRequest(f"{key} must be a SHA-256 in 64 lower-case hexadecimal digits")
    return found


def paths(value: object) -> tuple[str, ...]:
    """What a job's results are in: paths from where it starts, or absolute ones; absent is none."""
    if value is None:
        return ()
    if not isinstance(value, list) or not 0 < len(value) <= OUT_MAX:
        raise BadRequest(f"out must be a list of 1 to {OUT_MAX} paths")
    found = []
    for one in value:
        path = text(one, "out", PATH_MAX)
        if path is None:
            raise BadRequest("out must not contain null")
        if ".." in path.split("/"):
            raise BadRequest(f"out: {path!r} leads up (..): write the path that is meant")
        if place_of(path) == "/":
            raise BadRequest(f"out: {path!r} is all of the container: name what is meant")
        found.append(path)
    return tuple(dict.fromkeys(found))


def priority(value: object) -> Priority:
    """A class of jobs; absent is normal."""
    if value is None:
        return Priority.NORMAL
    try:
        return Priority(str(value))
    except ValueError:
        raise BadRequest(f"priority must be {', '.join(Priority)}") from None


def job_state(value: object) -> JobState | None:
    """A state of jobs; ``None`` for null and absent."""
    if value is None:
        return None
    try:
        return JobState(str(value))
    except ValueError:
        raise BadRequest(f"state must be {', '.join(JobState)}") from None


def count(value: object, key: str, most: int) -> int:
    """A whole number, between 0 and ``most``; absent is 0."""
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    raise BadRequest(f"{key} must be a whole number between 0 and {most}")


def count_or_none(value: object, key: str, most: int) -> int | None:
    """The same; ``None`` for null and absent."""
    return None if value is None else count(value, key, most)


def versions(value: object) -> tuple[str, ...]:
    """CUDA versions, or "all" alone; absent is none."""
    found = names([value] if isinstance(value, str) else value, "cuda") or ()
    for one in found:
        if CUDA.fullmatch(one) is None and (one != "all" or len(found) > 1):
            raise BadRequest('cuda must be versions such as 12.8, or "all" alone')
    return found


def version(value: object) -> str | None:
    """One CUDA version; ``None`` for null and absent."""
    found = text(value, "cuda")
    if found is not None and CUDA.fullmatch(found) is None:
        raise BadRequest("cuda must be one version, such as 12.8")
    return found


def image(value: object) -> str | None:
    """An image by name, with its tag; ``None`` for null and absent."""
    found = text(value, "image", IMAGE_MAX)
    if found is None:
        return None
    if re.fullmatch(NAME, found) is None or found.startswith(BY_ID):
        raise BadRequest("image must be an image's name, such as lab/torch:2.5")
    return tagged(found)


def matrix(value: object) -> dict[str, tuple[str, ...]]:
    """Values by variable: one job for each combination; absent is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest("matrix must be an object of lists of texts")
    found = {}
    for name, several in value.items():
        if not isinstance(several, list) or not 0 < len(several) <= LIST_MAX:
            raise BadRequest(f"matrix: {name[:64]} must be a list of 1 to {LIST_MAX} texts")
        for one in several:
            env({name: one})
        found[name] = tuple(dict.fromkeys(several))
    return found


def side(value: object, key: str) -> int | None:
    """Rows or columns of a terminal, or ``None`` for null and absent: there is none."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= SIDE_MAX:
        return value
    raise BadRequest(f"{key} must be a whole number between 1 and {SIDE_MAX}")


def terminal_type(value: object) -> str:
    """A terminal's type, as the variable TERM says it; absent is none."""
    found = text(value, "term")
    if found is not None and TYPE.fullmatch(found) is None:
        raise BadRequest("term must be a terminal's type, such as xterm-256color")
    return found or ""


def _encodable(value: str, key: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"{key} is not Unicode text") from error


def seconds(value: object, key: str) -> float | None:
    """A positive number of seconds, or ``None`` for null and absent."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
        return float(value)
    raise BadRequest(f"{key} must be a positive number of seconds")


def moment(value: object, key: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, or ``None`` for null and absent."""
    found = text(value, key)
    if found is None:
        return None
    try:
        return parse_time(found)
    except ValueError as error:
        raise BadRequest(f"{key} {error}") from error


def whole(query: Mapping[str, str], key: str, otherwise: int, most: int) -> int:
    """A whole number from a query, between 0 and ``most``."""
    value = query.get(key)
    if value is None:
        return otherwise
    if not (value.isascii() and value.isdigit()) or len(value) > 19 or int(value) > most:
        raise BadRequest(f"{key} must be a whole number between 0 and {most}")
    return int(value)


def wait(query: Mapping[str, str], most: float) -> float:
    """How many seconds a long poll may wait; absent is 0, above ``most`` is ``most``."""
    value = query.get("wait")
    if value is None:
        return 0.0
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not math.isfinite(found) or found < 0:
        raise BadRequest("wait must be a number of seconds")
    return min(found, most)


def switch(query: Mapping[str, str], key: str) -> bool:
    """``1`` or ``0`` from a query; absent is 0."""
    value = query.get(key, "0")
    if value not in {"0", "1"}:
        raise BadRequest(f"{key} must be 0 or 1")
    return value == "1"
