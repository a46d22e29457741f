"""Where anybody on the host may look, and which secrets stand there; the same for every service.

assert leaks({"token": "ghp_good"}, surfaces(manager, tag)) == []
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from tests.harness import Manager

ASKED = ("/v1/status", "/v1/metrics", "/v1/plan")
TOLD = (("status",), ("history", "--json"), ("events", "--json"), ("config", "show"))


def surfaces(manager: Manager, tag: str, vaults: tuple[str, ...] = ()) -> dict[str, str]:
    """All that Docker shows of agents and their image ``tag``, and all that Mayfly writes and answers.

    ``vaults`` are directories of its state where a secret is meant to be.
    """
    found = {
        f"docker {verb} {name}": manager.docker(verb, name, check=False)
        for name in manager.containers()
        for verb in ("inspect", "logs", "top")
    }
    found["docker history"] = manager.docker("history", "--no-trunc", tag)
    found["the manager's log"] = manager.log.read_text()
    for path in manager.state.rglob("*"):
        if path.is_file() and path.parent.name not in vaults:
            found[str(path.relative_to(manager.state))] = path.read_bytes().decode("latin-1")
    if manager.answers():
        found |= {path: manager.read(path).decode() for path in ASKED}
        for words in TOLD:
            done = manager.cli(*words)
            assert done.returncode in (0, 1), done.stderr
            found[f"mayfly {' '.join(words)}"] = done.stdout + done.stderr
    assert all(found[name] for name in ("docker history", "the manager's log", "mayfly.sqlite"))
    return found


def leaks(secrets: Mapping[str, str], places: Mapping[str, str]) -> list[str]:
    """The secrets, by what they are, that stand in one of the places, as they are or in base64."""
    assert all(secrets.values())
    return [
        f"{what} is in {where}"
        for where, text in places.items()
        for what, secret in secrets.items()
        if secret in text or base64.b64encode(secret.encode()).decode() in text
    ]
