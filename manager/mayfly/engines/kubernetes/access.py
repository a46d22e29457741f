"""How a cluster is reached and who we are there: a kubeconfig, or the account of the manager's own pod.

A token in a file and one that a program gives are read again before they are old, and what stands in a
kubeconfig once that is another file; what they say is kept in memory alone. Certificates that stand in a
kubeconfig itself go to a file of this user's for the moment in which the TLS library reads them, since it
takes no others.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import urlsplit

from mayfly.core.quantities import moment
from mayfly.edge.cluster import Cluster
from mayfly.edge.extras import extra_line
from mayfly.edge.faults import Passing, Refused

OWN = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PLUGIN_SECONDS = 20.0
# Keys of a kubeconfig's cluster and user that change where or who we are, and are not known here.
UNSUPPORTED = ("proxy-url", "tls-server-name")
AS = ("as", "as-uid", "as-groups", "as-user-extra", "username", "auth-provider")
EARLY = 60.0  # seconds before its end at which a program is asked for another token

Files = Sequence[
    tuple[Path, Any]
]  # kubeconfigs that are one, with what each says; the first comes first


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster's API server, and how to speak with it."""

    server: str  # https://HOST:PORT, without a slash at its end
    context: ssl.SSLContext | None  # None: it is http
    token: Callable[[], str | None] = field(default=lambda: None, repr=False)
    renew: Callable[[], None] = field(default=lambda: None, repr=False)  # a certificate, if need be
    place: Path | None = None  # where the token stands; None: a program gives it, or there is none
    renewed: bool = False  # somebody else sees to it that it does not end
    user: str = ""  # what a kubeconfig calls who we are

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.server)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def prefix(self) -> str:
        """What stands before each path."""
        return urlsplit(self.server).path

    def headers(self) -> dict[str, str]:
        """Who we are; a certificate says it without any."""
        self.renew()
        token = self.token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}


def access(cluster: Cluster) -> Access:
    """How that cluster is reached; ``Refused`` where what says so is not there, or cannot be used."""
    if cluster.kubeconfig is None:
        return _own()
    return _of_files(_read([Path(cluster.kubeconfig)]), cluster.context)


def of_context(name: str, environ: Mapping[str, str]) -> tuple[Access, str | None]:
    """How a person reaches the cluster of that context, where kubectl finds it, and its namespace (``None``:
    it names none). Several files are one: of each name the first that has it counts, and what is not there is
    passed over.
    """
    named = environ.get("KUBECONFIG") or str(Path(environ.get("HOME", "/")) / ".kube/config")
    paths = [Path(one) for one in named.split(":") if one]
    files = _read([one for one in paths if one.exists()] or paths[:1])
    if not files:
        raise Refused("no kubeconfig is named")
    access = _of_files(files, name)
    context, _ = _named(files, "contexts", name)
    return access, context["context"].get("namespace")


def _own() -> Access:
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host or not (OWN / "token").exists():
        raise Refused(
            "this manager runs in no pod: name a file in host.kubernetes.kubeconfig, such as the one that "
            "kubectl uses"
        )
    host = f"[{host}]" if ":" in host else host
    context = ssl.create_default_context(cafile=str(OWN / "ca.crt"))
    token = _FileToken(OWN / "token")
    return Access(
        f"https://{host}:{port or '443'}", context, token, place=OWN / "token", renewed=True
    )


def _read(paths: Iterable[Path]) -> Files:
    return [(path, _document(path)) for path in paths]


def _document(path: Path) -> Any:
    try:
        # Only a cluster's configuration is YAML: whoever has none needs no parser of it.
        from mayfly.edge.yaml_text import parsed  # noqa: PLC0415
    except ImportError as error:
        raise Refused(
            f"engine kubernetes needs two more packages: `{extra_line('kubernetes')}`"
        ) from error
    try:
        found = parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"the kubeconfig {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"the kubeconfig {path} is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise Refused(
            f"the kubeconfig {path} is not as one has to be: see `{_view([(path, None)])}`"
        )
    return found


def _of_files(files: Files, wanted: str | None) -> Access:
    try:
        return _chosen(files, wanted)
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise Refused(
            f"the kubeconfig {_names(files)} is not as one has to be ({error}): see `{_view(files)}`"
        ) from error
    except (ssl.SSLError, OSError) as error:
        raise Refused(
            f"the kubeconfig {_names(files)} names a certificate of no use: {error}"
        ) from error


def _chosen(files: Files, wanted: str | None) -> Access:
    current = (document.get("current-context") for _, document in files)
    context = _named(files, "contexts", wanted or next(filter(None, current), None))[0]["context"]
    cluster, of_cluster = _named(files, "clusters", context["cluster"])
    user, of_user = _named(files, "users", context["user"])
    cluster, name, user = cluster["cluster"], str(context["user"]), user.get("user") or {}
    server = str(cluster["server"]).rstrip("/")
    for key, path in (
        *((one, of_cluster) for one in UNSUPPORTED if cluster.get(one)),
        *((one, of_user) for one in AS if user.get(one)),
    ):
        raise Refused(f"the kubeconfig {path} says {key}, which is not supported here")
    # What a file names is beside that file.
    tls = _tls(cluster, of_cluster.parent) if _is_tls(server) else None
    own = _OfUser(of_user, name, user, tls)
    if user.get("tokenFile"):  # which is the younger of the two, where both are there
        file = of_user.parent / user["tokenFile"]
        return Access(server, tls, _FileToken(file), own.renew, file, renewed=True, user=name)
    if user.get("token"):
        return Access(server, tls, own.token, own.renew, of_user, user=name)
    if user.get("exec"):
        return Access(server, tls, _PluginToken(user["exec"]), own.renew)
    return Access(server, tls, renew=own.renew)


def _is_tls(server: str) -> bool:
    return server.startswith("https://")


def _named(files: Files, kind: str, name: object) -> tuple[Any, Path]:
    """The first of that kind and name, and the file that it is in."""
    there = [(one, path) for path, document in files for one in document.get(kind) or ()]
    for one, path in there:
        if one.get("name") == name:
            return one, path
    names = ", ".join(dict.fromkeys(str(one.get("name")) for one, _ in there)) or "none"
    raise Refused(
        f"the kubeconfig {_names(files)} has none of {kind} called {name!r}; there are: {names}"
    )


def _view(files: Files) -> str:
    """What shows them as one."""
    return f"KUBECONFIG={quote(_names(files))} kubectl config view"


def _names(files: Files) -> str:
    return ":".join(str(path) for path, _ in files)


def _tls(cluster: Mapping[str, Any], of_cluster: Path) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    file = cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cafile=str(of_cluster / file) if file and not authority else None,
        cadata=base64.b64decode(authority).decode() if authority else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


State = tuple[int, int, int]  # of a file: which it is, when it was written, its size


def _state(path: Path) -> State | None:
    """``None``: it is not there."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


class _OfUser:
    """What a kubeconfig says of who we are, as long as it says so; may be asked from any thread.

    Where the file is another it is read again. One that is not whole, or says nothing of use, changes
    nothing, and is looked at again.
    """

    def __init__(
        self, path: Path, name: str, said: Mapping[str, Any], context: ssl.SSLContext | None
    ) -> None:
        self._path = path
        self._name = name
        self._context = context
        self._token = str(said.get("token") or "")
        # Nothing is known of the file as it was before this was read: it is read again by the first who asks.
        self._states: tuple[State | None, ...] = ()
        self._reading = threading.Lock()
        self._take(said)

    def token(self) -> str:
        """That stands there."""
        return self._token

    def renew(self) -> None:
        """Take what has changed there."""
        if self._states == self._now(self._said):
            return
        with self._reading:
            before = _state(self._path)  # it may be replaced as it is read
            try:
                user, _ = _named([(self._path, _document(self._path))], "users", self._name)
                said = user.get("user") or {}
                states = (before, *self._beside(said))
                self._take(said)
            except (Refused, KeyError, TypeError, AttributeError, OSError, ValueError):
                return  # (ssl.SSLError is an OSError, binascii.Error a ValueError.)
            self._states = states

    def _now(self, said: Mapping[str, Any]) -> tuple[State | None, ...]:
        return _state(self._path), *self._beside(said)

    def _beside(self, said: Mapping[str, Any]) -> tuple[State | None, ...]:
        named = (said.get(one) for one in ("client-certificate", "client-key"))
        return tuple(_state(self._path.parent / one) for one in named if one)

    def _take(self, said: Mapping[str, Any]) -> None:
        if self._context is not None:
            _take_certificate(self._context, said, self._path.parent)
        self._token = str(said.get("token") or "") or self._token
        self._said = said


def _take_certificate(context: ssl.SSLContext, user: Mapping[str, Any], beside: Path) -> None:
    """Who connects from now on does so by that certificate."""
    if user.get("client-certificate-data"):
        with tempfile.TemporaryDirectory() as place:
            pair = Path(place) / "pair.pem"
            pair.touch(mode=0o600)
            parts = (user["client-certificate-data"], user["client-key-data"])
            pair.write_bytes(b"\n".join(base64.b64decode(part) for part in parts))
            context.load_cert_chain(pair)
    elif user.get("client-certificate"):
        key = str(beside / user["client-key"])
        context.load_cert_chain(str(beside / user["client-certificate"]), key)


class _FileToken:
    """A token in a file that somebody else renews; may be asked from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[str, State | None] | None = None  # and of which file that is

    def __call__(self) -> str:
        known, now = self._known, _state(self._path)
        if known is None or now is None or now != known[1]:
            try:
                known = (self._path.read_text(encoding="ascii").strip(), now)
            except (OSError, UnicodeDecodeError) as error:
                raise Passing(f"the token in {self._path} cannot be read: {error}") from error
            self._known = known
        return known[0]


class _PluginToken:
    """A token that a program gives (client.authentication.k8s.io), until it is nearly over."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._argv = [str(said["command"]), *(str(one) for one in said.get("args") or ())]
        self._more = {str(one["name"]): str(one["value"]) for one in said.get("env") or ()}
        self._version = str(said["apiVersion"])
        self._known: tuple[str, float] | None = None  # and until when it is good
        self._asking = threading.Lock()

    def __call__(self) -> str:
        with self._asking:
            if self._known is None or time.time() > self._known[1] - EARLY:
                self._known = self._asked()
            return self._known[0]

    def _asked(self) -> tuple[str, float]:
        told = {"apiVersion": self._version, "kind": "ExecCredential", "spec": {}}
        environ = {**os.environ, **self._more, "KUBERNETES_EXEC_INFO": json.dumps(told)}
        try:
            done = subprocess.run(
                self._argv, env=environ, capture_output=True, timeout=PLUGIN_SECONDS, check=True
            )
            status = json.loads(done.stdout)["status"]
            until = status.get("expirationTimestamp")
            # (Of an end that is no time nobody knows when it is: it is asked anew each time.)
            end = moment(until) or 0.0 if until else float("inf")
            return str(status["token"]), end
        except subprocess.CalledProcessError as error:
            # (Its arguments, which may be secret, are told to nobody.)
            said = error.stderr.decode(errors="replace").split("\n")
            why = next(
                (line for line in reversed(said) if line.strip()), f"code {error.returncode}"
            )
        except subprocess.TimeoutExpired:
            why = f"it takes longer than {PLUGIN_SECONDS:g} s"
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
        raise Passing(f"{self._argv[0]} gives no token for the cluster: {why[:300]}")
