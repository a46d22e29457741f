"""What of the Engine's own errors a job is told: those that say nothing of the host.

An error of the Engine's may have a path of the host in it, tell whether one is there, or say what another's
container is called. So its words are shown where they have one of the forms below; any other is replaced by a
sentence, and the gateway's log has the words.
"""

from __future__ import annotations

import re
from typing import Any

from mayfly.core.admission.grant import Grant
from mayfly.core.admission.request import shown

_ENDS = r"no matching entries in (?:passwd|group) file"
_IN_USE = r"already in use by container"
_REUSE = r"You have to remove \(or rename\) that container to be able to reuse that name"
_N = r"[\"'/]{0,2}[\w.-]{1,255}[\"']?"  # a name or an id, maybe quoted, maybe with its slash
_I = r"[\w.:@/\[\]-]{1,400}"  # an image
_Q = r"\"[^\"\n]{0,4096}\""  # what the client said itself
# Of a start: found within what runtimes say around it. Clients tell 126 and 127 by these words.
_START = (
    rf"exec: {_Q}: (?:executable file not found in \$PATH|exec format error)",
    rf"exec: {_Q}: (?:permission denied|is a directory)",
    rf"exec: {_Q}: stat [^\n:]{{1,4096}}: no such file or directory",
    r"exec format error",
    r"error setting rlimit type [0-9]{1,2}: operation not permitted",
    rf"unable to find (?:user|group) [\w.-]{{1,255}}: {_ENDS}",
    r"no users found",
    rf"chdir to cwd \({_Q}\) set in config\.json failed: (?:no such file|permission|not a)[ \w]{{1,30}}",
)
_FORMS = (
    rf"No such container: {_N}",
    rf"No such exec instance: {_N}",
    rf"No such image: {_I}",
    rf"network {_N} not found",
    rf"get {_N}: no such volume",
    rf"[Cc]ontainer {_N} is (?:not running|not paused|already paused|already stopped|already started|paused)",
    rf"[Cc]ontainer {_N} is (?:restarting, wait until the container is running|marked for removal[ \w]*)",
    rf"[Cc]ontainer {_N} is paused, unpause the container before exec",
    r"container stopped/paused",
    r"no command specified",
    rf"exec (?:command )?{_N} has already (?:been run|completed)",
    rf"Error: Exec command {_N} (?:is already running|has already run)",
    rf"Conflict\. The container name {_N} is {_IN_USE} {_N}\. {_REUSE}\.?",
    rf"You cannot remove a (?:running|paused|restarting) container {_N}\. [ \w.]{{1,120}}",
    rf"cannot remove container {_N}: container is [\w, ]{{1,40}}: [ \w]{{1,120}}",
    rf"removal of container {_N} is already in progress",
    rf"[Cc]annot (?:\w{{4,8}}) container: ?{_N}: ?[Cc]ontainer {_N} is not (?:running|paused)",
    rf"[Cc]annot (?:\w{{4,8}}) container: ?{_N}: ?No such container: {_N}",
    r"Renaming a container with the same name as its current name",
    rf"Duplicate mount point: {_I}",
    rf"network with name {_N} already exists",
    (
        rf"(?:error while removing network: )?network {_N} (?:id {_N} )?has active endpoints"
        r"(?: \(.{1,4096}\))?"
    ),
    r"all predefined address pools have been fully subnetted",
    rf"remove {_N}: volume is in use - \[[\w, ]{{1,4096}}\]",
    rf"endpoint with name {_N} already exists in network {_N}",
    rf"container {_N} is (?:not|already) connected to (?:the )?network {_N}",
    rf"Could not find the file {_I} in container {_N}",
    r"container rootfs is marked read-only",
    r"mounted volume is marked read-only",
    r"extraction point is not a directory",
    r"cannot (?:overwrite|copy) [ \w/.\"-]{1,400}",
    rf"(?:manifest for|image|pull access denied for) {_I}[ :,'\w]{{1,200}}",
    r"no matching manifest for [\w/ ]{1,60} in the manifest list entries[ \w:-]*",
    rf"failed to resolve reference {_Q}: [ \w.,:'/@-]{{1,300}}",
    r"unauthorized: [ \w.,:'/-]{1,300}",
    r"toomanyrequests: [ \w.,:'/-]{1,300}",
    r"denied: [ \w.,:'/-]{1,300}",
    r"client version [0-9.]+ is too (?:new|old)\. \w{7} supported API version is [0-9.]+[, \w]{0,60}",
    r"Minimum memory limit allowed is \w+",
    r"Range of CPUs is from [0-9.]+ to [0-9.]+, as there are only [0-9]+ CPUs available",
    rf"cannot join network (?:namespace )?of a (?:non running|restarting) container: {_N}",
    rf"cannot join (?:IPC|PID)[ \w]{{1,60}}: {_N}",
    r"conflicting options: [ \w,-]{1,200}",
    r"can't create 'AutoRemove' container with restart policy",
    rf"linked container {_N} is not running",
    rf"unable to find (?:user|group) [\w.-]{{1,255}}: {_ENDS}",
    r"invalid signal: [\w+-]{1,20}|Invalid signal: [\w+-]{1,20}",
    r"Conflict\. The container [ \w]{1,80}",
)
_HARMLESS = re.compile("|".join(f"(?:{form})" for form in _FORMS))
_STARTED = re.compile("|".join(f"(?:{form})" for form in _START))
_REGISTRY = re.compile(r"(?:Get \"|Head \"|login attempt to )https?://([\w.:\[\]-]{1,253})/")
_UNKNOWN = re.compile(r"\bunauthorized\b|401 Unauthorized|no basic auth credentials", re.IGNORECASE)
# Both say the same of a link: a job is not to learn what it leads to on the host.
_SUBPATH = re.compile(r"subpath|path concatenation escapes|cannot access path", re.IGNORECASE)
LONGEST = 16 * 1024
WITHHELD = {
    400: "the Engine does not take this request",
    403: "the Engine refuses this request",
    404: "the Engine has nothing of this name",
    409: "the Engine cannot do this now: something of the same name, or its state, is in the way",
    429: "a registry lets the Engine fetch no more for now",
}
_FAILED = "the Engine failed on this request; its own words are in Mayfly's log"
_OWN_DIRECTORY = (
    "what the container mounts of the job's own directory is not there, or is a link that leads out"
)


def shown_error(status: int, document: Any, grant: Grant) -> tuple[int, dict[str, str]]:
    """Status and body of an error, as the client gets them."""
    words = document.get("message") if isinstance(document, dict) else None
    if isinstance(words, str) and _SUBPATH.search(words):
        return 400, {"message": _OWN_DIRECTORY}
    if status == 401:
        status = 403  # at a 401 the docker command asks for a login, and waits for who will never type one
    return status, {"message": sentence(words, grant) or WITHHELD.get(status, _FAILED)}


def sentence(words: Any, grant: Grant) -> str:
    """The Engine's words where they are harmless; a registry's host, or nothing, where they are not."""
    if not isinstance(words, str) or len(words) > LONGEST:
        return ""
    plain = words.replace(grant.prefix, "").strip()
    if _SUBPATH.search(plain):
        return _OWN_DIRECTORY
    if started := _STARTED.search(plain):
        return f"failed to start: {started[0]}"
    told = re.sub(r"^Error response from daemon: ", "", plain).rstrip(".")
    if _HARMLESS.fullmatch(plain) or _HARMLESS.fullmatch(told):
        return plain
    if registry := _REGISTRY.search(plain):
        if _UNKNOWN.search(plain):
            return f"registry {shown(registry[1])} does not take these credentials, or wants some"
        return f"registry {shown(registry[1])} does not answer the Engine, or refuses it"
    return ""
