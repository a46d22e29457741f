"""What each command may be asked with: a request's body becomes a command's arguments.

Pure; ``BadRequest`` where the body cannot be meant. ``slots`` is all slots of the host as published,
for a body that names none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mayfly.service import parameters

Arguments = Mapping[str, object]


def submit(body: bytes, _: Sequence[str]) -> Arguments:
    """``{argv, env, pool, timeout}``."""
    given = parameters.document(body, ("argv", "env", "pool", "timeout"))
    return {
        "argv": parameters.argv(given.get("argv")),
        "env": parameters.env(given.get("env")),
        "pool": parameters.text(given.get("pool"), "pool"),
        "timeout": parameters.seconds(given.get("timeout"), "timeout"),
    }


def cordon(body: bytes, slots: Sequence[str]) -> Arguments:
    """``{slots, until, note}``; ``until`` in seconds since the epoch."""
    given = parameters.document(body, ("slots", "until", "note"))
    return {
        "slots": parameters.names(given.get("slots"), "slots") or tuple(slots),
        "until": parameters.moment(given.get("until"), "until"),
        "note": parameters.text(given.get("note"), "note", parameters.NOTE_MAX),
    }


def named_slots(body: bytes, slots: Sequence[str]) -> Arguments:
    """``{slots}``: ``uncordon``, ``recycle``, ``retry``."""
    given = parameters.document(body, ("slots",))
    return {"slots": parameters.names(given.get("slots"), "slots") or tuple(slots)}


def drain(body: bytes, _: Sequence[str]) -> Arguments:
    """``{slots, force}``; no slots means all."""
    given = parameters.document(body, ("slots", "force"))
    return {
        "slots": parameters.names(given.get("slots"), "slots"),
        "force": parameters.flag(given.get("force"), "force"),
    }


def pause(body: bytes, _: Sequence[str]) -> Arguments:
    """``{note}``."""
    given = parameters.document(body, ("note",))
    return {"note": parameters.text(given.get("note"), "note", parameters.NOTE_MAX)}


def reload(body: bytes, _: Sequence[str]) -> Arguments:
    """``{dry_run}``."""
    given = parameters.document(body, ("dry_run",))
    return {"dry_run": parameters.flag(given.get("dry_run"), "dry_run")}


def nothing(body: bytes, _: Sequence[str]) -> Arguments:
    """No argument: ``resume``, ``cancel`` (its job is in the path), ``plan``."""
    parameters.document(body, ())
    return {}
