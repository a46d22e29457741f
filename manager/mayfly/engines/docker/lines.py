"""What a person types at Docker. It loads little: the gateway, too, tells some of these."""

from __future__ import annotations

from dataclasses import fields, replace
from shlex import quote

from mayfly.core.admission.grant import LABEL_BELONGS
from mayfly.core.model import EngineLines

LINES = EngineLines(
    unpause="sudo docker unpause {name}",
    rename="sudo docker rename {name} {name}-foreign",
    inspect="sudo docker inspect {name}",
    status="sudo systemctl status docker",
    room="df -h {name}; sudo docker system df",
    untaint="# nothing: it taints no device",
    # 256 networks of 254 addresses. A daemon reads it at its start.
    addresses='# "default-address-pools": [{"base": "10.210.0.0/16", "size": 24}] in /etc/docker/daemon.json '
    "gives 256, of a range that is free on your network; then restart Docker when no job runs",
    clear=f"sudo docker ps -aq --filter label={LABEL_BELONGS}={{name}} | xargs -r sudo docker rm -fv",
)

# The Engine that `docker` asks where nobody says which.
USUAL = frozenset({"unix:///var/run/docker.sock", "unix:///run/docker.sock"})


def lines_at(address: str) -> EngineLines:
    """The same for the Engine at that address: each line names it where it is not the usual one."""
    if address in USUAL:
        return LINES
    named = f"docker -H {quote(address)} "
    texts = {one.name: str(getattr(LINES, one.name)) for one in fields(LINES)}
    return replace(
        LINES, **{key: text.replace("sudo docker ", f"sudo {named}") for key, text in texts.items()}
    )
