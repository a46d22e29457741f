"""An agent image that has programs searched for in a folder which anybody may write, as a cache is.

Its folder has what a job might have left there: programs by the names of those that root runs. Whichever is
run writes that down.
"""

from __future__ import annotations

import json

from mayfly.core.model import ContainerId
from mayfly.core.tree_manifest import TreeEntry
from mayfly.core.workspace import Owner
from mayfly.edge.tree_archive import END, TreeArchive
from mayfly.engines.protocol import Engine

_LEFT = r"""for one in env sh bash getent tar setpriv timeout sleep mkdir chown cat head kill; do
  printf '#!/bin/sh\necho %s >>/leads/ran\n' $one >/leads/$one
done"""
_MADE = ("mkdir -m 0777 /leads", *_LEFT.splitlines(), "chmod 0755 /leads/*", "chown -R 1000 /leads")
# For `FROM` an agent image.
LINES = f"""USER root
RUN {json.dumps(["/bin/sh", "-ec", chr(10).join(_MADE)])}
ENV PATH=/leads:/usr/bin:/bin LD_PRELOAD=/leads/none.so BASH_ENV=/leads/kill
"""


def goes_its_own_way(engine: Engine, container: ContainerId) -> None:
    """What the engine starts as root, and as the job's user, in an agent of that image at its gate."""

    def run(*argv: str, user: str = "0:0") -> tuple[int, bytes]:
        return engine.exec_probe(container, argv, 20.0, user=user)

    assert run("/usr/bin/env", "getent", "passwd", "1000")[1].startswith(b"runner:")
    code, said = run("/bin/bash", "-c", "timeout 5 id -u; env")
    assert (code, said.split(b"\n")[0]) == (0, b"0"), said
    assert not any(word in said for word in (b"LD_PRELOAD", b"BASH_ENV", b"/leads")), said
    run("/bin/sh", "-c", "sleep 0", user="1000:1000")
    archive = TreeArchive(Owner(1000, 1000), 0.0)
    one = TreeEntry("a", "file", 0o644, 1, "0" * 64)
    engine.put_tree(container, [*archive.workspace([one], lambda _: [b"x"]), END])
    assert engine.at_gate(container)
    engine.signal(container, "CONT")
    assert run("/usr/bin/test", "-x", "/leads/getent")[0] == 0
    assert run("/usr/bin/test", "-e", "/leads/ran")[0] == 1, run("/bin/cat", "/leads/ran")
