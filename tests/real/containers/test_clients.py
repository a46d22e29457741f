"""Jobs that call Docker as their authors know it: its command, compose, Testcontainers, its SDK for Python.

Each test is a job. Nobody here wrote the clients; the Engine is real, and so is what stands before it.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.fakes.nvidia_runtime import PLACE
from tests.fakes.nvml import uuid
from tests.harness import until
from tests.real.containers.lab import CPUS, MEMORY, PIDS, SERVER, Lab

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(900)]

SAY = "say() { bash -c 'exec 3<>/dev/tcp/$0/$1; cat <&3' \"$@\"; }\n"
AWAIT = (
    'await() { for i in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; false; }\n'
)
COMPOSE = """cat >compose.yaml <<END
services:
  db:
    image: $DATABASE
    environment: {POSTGRES_USER: app, POSTGRES_PASSWORD: word, POSTGRES_DB: app}
    volumes: ["kept:/var/lib/postgresql/data"]
    healthcheck:
      test: ["CMD", "psql", "postgresql://app:word@127.0.0.1/app", "-c", "select 1"]
      interval: 1s
      retries: 60
  app:
    image: $DATABASE
    command: ["psql", "postgresql://app:word@db/app", "-Atc", "$QUERY"]
    depends_on: {db: {condition: service_healthy}}
volumes: {kept: {}}
END
"""


def test_a_container_has_the_gpu_of_the_slot_and_the_jobs_directory(lab: Lab) -> None:
    done = lab.well(
        f"""
        echo brought >in
        docker run --rm --gpus all -v "$PWD:/w" "$IMAGE" sh -c '
          {PLACE}/nvidia-smi -L; cat /w/in; mkdir /w/made; echo left >/w/made/out; id -u'
        cat made/out
        """,
        "gpu",
    )
    assert done.lines == [f"GPU 0: Stub GPU (UUID: {uuid(0)})", "brought", "0", "left"]


@pytest.mark.parametrize(
    "asked",
    [
        "--gpus all",
        "--gpus 1",
        "--gpus device=0",
        "--gpus device=1",
        f"--gpus device={uuid(1)}",
        "--gpus all -e NVIDIA_VISIBLE_DEVICES=all",
        "--runtime nvidia -e NVIDIA_VISIBLE_DEVICES=all",
        "--runtime nvidia",
        "-e NVIDIA_VISIBLE_DEVICES=all",
        "--device nvidia.com/gpu=all",
    ],
)
def test_however_gpus_are_asked_for_the_lease_is_what_comes(lab: Lab, asked: str) -> None:
    done = lab.well(f'docker run --rm {asked} "$IMAGE" {PLACE}/nvidia-smi -L', "gpu")
    assert done.lines == [f"GPU 0: Stub GPU (UUID: {uuid(0)})"]


def test_who_does_not_ask_has_none_and_a_slot_without_says_so(lab: Lab) -> None:
    look = f"test ! -e {PLACE}/nvidia-smi && echo none; echo $NVIDIA_VISIBLE_DEVICES"
    script = f"""
        docker run --rm "$IMAGE" sh -c '{look}'
        docker run --rm wants-gpus:1 sh -c '{look}'
        """
    assert lab.well(script, "gpu").lines == ["none", "void"] * 2
    done = lab.well(f'{script}\ndocker run --rm --gpus all "$IMAGE" true && exit 9 || true')
    assert done.lines == ["none", "void"] * 2
    assert "this slot has no GPU" in done.err


def test_what_is_typed_goes_in_and_codes_and_streams_come_out(lab: Lab) -> None:
    done = lab.well(
        """
        printf abc | docker run -i --rm "$IMAGE" sh -c 'cat; echo; echo err >&2'
        docker run --rm "$IMAGE" sh -c 'exit 42' || echo "code $?"
        docker run --rm "$IMAGE" nothing-of-that-name || echo "code $?"
        head -c 5000000 /dev/zero | docker run -i --rm "$IMAGE" wc -c
        env -u DOCKER_HOST docker run --rm "$IMAGE" echo by the usual path
        """
    )
    assert done.lines == ["abc", "code 42", "code 127", "5000000", "by the usual path"]
    assert "err\n" in done.err


def test_compose_runs_two_services_and_a_volume_keeps_what_they_wrote(lab: Lab) -> None:
    done = lab.well(
        f"export DATABASE={lab.postgres}\n"
        "QUERY='create table t as select 6*7 as n; select n from t'\n"
        + COMPOSE
        + """
        docker compose up --exit-code-from app 2>&1 | grep 'app-1 *|' | sed 's/.*| //'
        docker compose ps -a --format '{{.Service}} {{.State}}' | sort
        docker compose down
        docker volume ls -q | grep kept
        """
        + "QUERY='select n + 1 from t'\n"
        + COMPOSE
        + """
        docker compose up -d --wait db
        docker compose run --rm app 2>/dev/null
        docker compose exec -T db psql postgresql://app:word@127.0.0.1/app -Atc 'select n from t'
        docker compose logs db | grep -c 'ready to accept connections'
        docker compose down -v
        docker volume ls -q | grep kept || :
        docker network ls -q --filter label=com.docker.compose.project
        """,
        timeout=400,
    )
    assert done.lines[:2] == ["SELECT 1", "42"]
    assert done.lines[2:5] == ["app exited", "db exited", "workspace_kept"]
    assert done.lines[5:7] == ["43", "42"]
    assert int(done.lines[7]) >= 1
    assert done.lines[8:] == []


def test_composes_reservation_of_devices_is_the_lease(lab: Lab) -> None:
    done = lab.well(
        f"""
        cat >compose.yaml <<END
        services:
          look:
            image: $IMAGE
            command: {PLACE}/nvidia-smi -L
            deploy:
              resources:
                reservations:
                  devices: [{{driver: nvidia, count: all, capabilities: [gpu]}}]
END
        docker compose run --rm look 2>/dev/null
        """,
        "gpu",
    )
    assert done.lines == [f"GPU 0: Stub GPU (UUID: {uuid(0)})"]


def test_the_example_of_testcontainers_own_documentation(lab: Lab) -> None:
    done = lab.well(
        f"python3 -m tests.real.containers.jobs.database {lab.postgres}; docker ps -aq",
        timeout=400,
    )
    assert "Trying" in done.out
    assert "Failed" not in done.out


def test_dockers_sdk_for_python(lab: Lab) -> None:
    done = lab.well('python3 -m tests.real.containers.jobs.sdk "$IMAGE"')
    told = json.loads(done.lines[-1])
    assert told.pop("refused").count(" ") > 2
    assert told.pop("reached").split()[-1].startswith("sdk-one")
    assert told == {
        "ping": True,
        "run": "hello\n",
        "failed": [7, "no\n"],
        "logs": [f"line {number}" for number in range(1, 6)],
        "exec": [3, "spoken\n", "e\n"],
        "put": True,
        "got": "carried",
        "top": True,
        "stats": True,
        "named": True,
        "list": ["sdk-one"],
        "network": ["sdk-net"],
        "volume": ["sdk-vol"],
        "wait": 143,
        "attrs": ["/sdk-one", {"of": "sdk"}],
        "left": [0, []],
        "image": ["base:1"],
    }


def test_a_terminal_in_a_container_that_runs(lab: Lab) -> None:
    done = lab.well(
        """
        docker run -d --name one "$IMAGE" sleep 1000 >/dev/null
        cat >typed <<'END'
        docker exec -it one sh -c 'test -t 0 && test -t 1 && echo terminal; stty size; read x; echo "got $x"'
END
        printf 'words\\n' | script -qec "stty rows 40 cols 100; $(cat typed)" /dev/null | tr -d '\\r'
        docker exec one sh -c 'exit 5' || echo "code $?"
        docker exec -u 1234 -w /tmp -e A=b one sh -c 'id -u; pwd; echo $A'
        printf in | docker exec -i one cat
        """
    )
    assert "terminal" in done.lines
    assert "40 100" in done.lines
    assert "got words" in done.lines
    assert done.lines[-5:] == ["code 5", "1234", "/tmp", "b", "in"]


def test_files_go_in_and_out(lab: Lab) -> None:
    done = lab.well(
        """
        docker create --name one "$IMAGE" sleep 1000 >/dev/null
        mkdir -p tree/deep; echo one >tree/deep/file; ln -s deep tree/link
        docker cp tree one:/srv/
        docker start one >/dev/null
        docker exec one cat /srv/tree/link/file
        docker exec one sh -c 'echo two >/srv/two'
        docker cp one:/srv/two . && cat two
        docker cp one:/srv/tree back && readlink back/link
        docker cp one:/srv/two - | tar -xO
        tar -c tree | docker cp - one:/opt && docker exec one ls /opt/tree
        docker diff one | grep -c srv
        """
    )
    assert done.lines[:6] == ["one", "two", "deep", "two", "deep", "link"]


def test_logs_are_followed_to_the_last_line(lab: Lab) -> None:
    done = lab.well(
        """
        docker run -d --name one "$IMAGE" bash -c 'seq 3000; sleep 1; echo last' >/dev/null
        docker logs -f one >all
        seq 3000 | cat - <(echo last) | cmp - all && wc -l <all
        docker logs --tail 2 -t one | cut -d' ' -f2
        docker run -d --name two "$IMAGE" sh -c 'echo out; echo err >&2' >/dev/null
        docker wait two
        docker logs two 2>/dev/null
        """
    )
    assert done.lines == ["3001", "3000", "last", "0", "out"]


OTHERS = """
touch /share/others
until [ -e /share/{stop} ]; do
  docker run --rm --name theirs "$IMAGE" true; docker create "$IMAGE" true >/dev/null
  [ "$(docker ps -aq | wc -l)" -lt 5 ] || docker rm $(docker ps -aq) >/dev/null
done
"""


def test_events_and_lists_are_its_own_while_another_agent_has_containers_too(lab: Lab) -> None:
    (lab.share / "others").unlink(missing_ok=True)
    other = lab.begin(OTHERS.format(stop="stop-others"))
    lab.shared("others")
    done = lab.well(
        AWAIT
        + """
        docker events --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}' >told &
        watch=$!
        docker events --filter event=die --format '{{.Actor.Attributes.exitCode}}' >codes &
        codes=$!
        for n in 1 2 3; do
          docker run --name "own-$n" "$IMAGE" sh -c "exit $n" || :
        done
        docker network create own-net >/dev/null; docker volume create own-vol >/dev/null
        await grep -q 'network create own-net' told
        await sh -c '[ $(wc -l <codes) = 3 ]'
        kill $watch $codes
        grep container told | grep -E ' (create|start|die) ' | sort -u
        echo; cat codes
        echo; docker ps -a --format '{{.Names}}' | sort
        echo; docker network ls --format '{{.Name}}'; docker volume ls -q
        echo; docker ps -a --format '{{.Image}} {{.Labels}}|{{.Mounts}}|{{.Ports}}' | sort -u
        """
    )
    (lab.share / "stop-others").touch()
    lab.done(other)
    events, codes, containers, rest, shown = done.out.split("\n\n")
    names = [f"own-{number}" for number in (1, 2, 3)]
    wanted = [f"container {what} {name}" for what in ("create", "die", "start") for name in names]
    assert sorted(events.splitlines()) == sorted(wanted)
    assert codes.split() == ["1", "2", "3"]
    assert containers.split() == names
    assert rest.split() == ["bridge", "own-net", "own-vol"]
    assert "mf-" not in done.out
    assert "io.mayfly" not in shown


def test_published_ports_are_the_jobs_own_loopbacks(lab: Lab) -> None:
    script = (
        SAY
        + AWAIT
        + f"""
        docker run -d --name one -e WHO=one -p 8080:80 "$IMAGE" {SERVER} >/dev/null
        docker run -d --name two -e WHO=two -p 127.0.0.1::80 "$IMAGE" {SERVER} >/dev/null
        await say 127.0.0.1 8080; say 127.0.0.1 8080; say localhost 8080
        port=$(docker port two 80 | head -n 1 | sed 's/.*://')
        await say 127.0.0.1 "$port"; say 127.0.0.1 "$port"
        docker ps --filter name=one --format '{{{{.Ports}}}}' | grep -o '8080->80/tcp' | head -n 1
        docker run -d -p 8080:80 "$IMAGE" sleep 9 >/dev/null 2>&1 || echo taken
        docker rm -f one >/dev/null
        say 127.0.0.1 8080 2>/dev/null || echo closed
        touch /share/$MAYFLY_JOB; until [ -e /share/looked ]; do sleep 0.1; done
        """
    )
    first, second = lab.begin(script), lab.begin(script)
    for job in (first, second):
        lab.shared(job)
    heard = lab.engine.sh("ss -Htln || netstat -tln || cat /proc/net/tcp")
    outside = subprocess.run(["ss", "-Htln"], capture_output=True, text=True, check=False).stdout
    (lab.share / "looked").touch()
    for job in (first, second):
        lines = lab.done(job).lines
        assert lines[:3] == ["hello from one", "hello from one", "hello from two"]
        assert lines[3:] == ["8080->80/tcp", "taken", "closed"]
    for listening in (heard, outside):
        assert ":8080 " not in listening


def test_containers_find_each_other_by_name_and_nobody_else(lab: Lab) -> None:
    done = lab.well(
        SAY
        + AWAIT
        + f"""
        docker network create net >/dev/null
        docker run -d --name web --network net -e WHO=web "$IMAGE" {SERVER} >/dev/null
        docker run -d --name alone -e WHO=alone "$IMAGE" {SERVER} >/dev/null
        ask='for i in $(seq 50); do (exec 3<>/dev/tcp/web/80; cat <&3) 2>/dev/null && exit
          sleep 0.1; done; exit 1'
        docker run --rm --network net "$IMAGE" bash -c "$ask"
        docker run --rm "$IMAGE" bash -c "${{ask/50/3}}" || echo not reached
        docker run --rm --network none "$IMAGE" bash -c "${{ask/50/1}}" || echo nor here
        docker run --rm --network container:web "$IMAGE" bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; cat <&3'
        docker network connect net alone
        docker run --rm --network net --link alone:friend "$IMAGE" bash -c "${{ask//web/friend}}" || :
        docker network disconnect net alone
        docker run --rm --network host "$IMAGE" true || :
        """
    )
    assert done.lines[:4] == ["hello from web", "not reached", "nor here", "hello from web"]
    assert "host" in done.err


def test_an_image_is_pulled_and_one_that_is_not_allowed_is_refused(lab: Lab) -> None:
    tag = lab.only_in_the_registry("layer")
    done = lab.well(
        f"""
        docker pull {tag} | grep -c 'Pull complete'
        docker image inspect -f '{{{{index .RepoTags 0}}}}' {tag}
        docker run --rm {tag} test -s /layer && echo there
        docker run --rm --pull always {tag} true && echo again
        docker pull {lab.registry.address}/lab/none:1 || echo absent
        docker pull somewhere.example/x:1 || echo refused
        docker run --rm mayfly/local:cpu true || echo refused
        docker rmi {tag} || echo kept
        """
    )
    assert done.lines == ["1", tag, "there", "again", "absent", "refused", "refused", "kept"]
    assert "somewhere.example/x" in done.err
    assert "mayfly/local:cpu" in done.err


def test_a_life_of_a_container(lab: Lab) -> None:
    done = lab.well(
        """
        docker run -d --name one --label a=b --hostname host-one --restart on-failure:1 \
          "$IMAGE" sleep 1000 >/dev/null
        docker exec one hostname
        docker inspect -f '{{.Name}} {{.State.Running}} {{.Config.Labels}} {{.HostConfig.NetworkMode}}' one
        docker pause one && docker unpause one
        docker top one | grep -c 'sleep 1000'
        docker stats --no-stream --format '{{.Name}}' one
        docker rename one two
        docker restart -t 0 two
        docker kill two
        docker wait two
        docker start two
        docker stop -t 0 two
        docker ps -aq --filter status=exited | wc -l
        docker rm two
        docker rm two || echo gone
        docker system df || echo no
        docker info --format '{{.NCPU}} {{.MemTotal}} {{.Name}}'
        docker version --format '{{.Server.Os}}'
        """
    )
    assert done.lines[:2] == ["host-one", "/one true map[a:b] bridge"]
    assert done.lines[2:13] == [
        *("one", "one", "1", "one", "two", "two", "137", "two", "two", "1", "two"),
    ]
    assert done.lines[13:15] == ["gone", "no"]
    assert "No such container: two" in done.err
    assert "linux" in done.lines


def test_its_own_socket_in_a_container_is_its_own_door(lab: Lab) -> None:
    done = lab.well(
        """
        docker run --rm --name inside -v /var/run/docker.sock:/var/run/docker.sock "$IMAGE" bash -c '
          perl -MIO::Socket::UNIX -e "
            \\$s = IO::Socket::UNIX->new(\\"/var/run/docker.sock\\") or die;
            print \\$s \\"GET /containers/json?all=1 HTTP/1.0\\\\r\\\\nHost: d\\\\r\\\\n\\\\r\\\\n\\";
            print while <\\$s>"' | tail -n 1 >answer
        python3 -c 'import json; print([row["Names"] for row in json.load(open("answer"))])'
        """
    )
    assert done.lines == ["[['/inside']]"]


def test_builds_are_refused_with_what_to_do_instead(lab: Lab) -> None:
    done = lab.well(
        """
        printf 'FROM base:1\\nRUN echo built >/made\\n' >Dockerfile
        docker build -t mine:1 . >/dev/null || echo refused
        DOCKER_BUILDKIT=1 docker build -t mine:2 . >/dev/null || echo refused
        docker build -t mine:3 https://127.0.0.1/x.git >/dev/null || echo refused
        docker commit none mine:4 || echo refused
        """
    )
    assert done.lines == ["refused"] * 4
    assert "has no `builder`, an image whose containers may" in done.err


def test_limits_are_the_pools_whatever_is_asked(lab: Lab) -> None:
    job = lab.begin(
        """
        docker run -d --name big -m 100g --pids-limit -1 "$IMAGE" sleep 1000 >/dev/null
        docker run -d --name small -m 64m --pids-limit 20 "$IMAGE" sleep 1000 >/dev/null
        docker run --rm -m 64m "$IMAGE" sh -c 'head -c 200000000 /dev/zero | tail' || echo "code $?"
        touch /share/limited; until [ -e /share/measured ]; do sleep 0.1; done
        """
    )
    lab.shared("limited")
    generation = lab.generation(lab.manager.job(job)["slot"])
    rows = lab.inspected("container", *lab.belongings(generation)["containers"])
    (lab.share / "measured").touch()
    assert lab.done(job).lines == ["code 137"]
    limits = {row["Name"].rpartition("-")[2]: row["HostConfig"] for row in rows}
    assert 0 < limits["big"]["Memory"] <= MEMORY
    assert limits["small"]["Memory"] == 64 << 20
    assert limits["small"]["PidsLimit"] == 20
    for host in limits.values():
        assert 0 < host["PidsLimit"] <= PIDS
        assert 0 < host["NanoCpus"] <= CPUS * 1e9
        assert host["CgroupParent"] == limits["big"]["CgroupParent"] != ""


def test_all_that_a_job_left_behind_is_gone_and_the_next_finds_nothing(lab: Lab) -> None:
    leaves = """
        docker network create left-net >/dev/null; docker volume create left-vol >/dev/null
        for n in 1 2 3; do
          docker run -d --network left-net -v left-vol:/v -v /anonymous "$IMAGE" sleep 1000
        done
        docker create "$IMAGE" true; docker run -d --restart always "$IMAGE" sh -c 'sleep 0.2; exit 1' || :
        docker exec -d $(docker ps -ql) sleep 1000 || :
        docker run -d -v /var/run/docker.sock:/s "$IMAGE" perl -MIO::Socket::UNIX -e '
          while (1) { my $s = IO::Socket::UNIX->new("/s") or next; my $b =
            "{\\"Image\\":\\"base:1\\",\\"Cmd\\":[\\"true\\"]}";
            print $s "POST /v1.47/containers/create HTTP/1.0\\r\\nHost: d\\r\\n",
              "Content-Type: application/json\\r\\nContent-Length: ", length $b, "\\r\\n\\r\\n$b";
            1 while <$s>; }'
        """
    lab.well(leaves, "gpu")
    done = lab.well(
        "docker ps -aq; docker volume ls -q; docker network ls -q --filter type=custom", "gpu"
    )
    assert done.out == ""
    lab.clean()


def test_a_job_that_asks_for_nothing_leaves_the_engine_alone(lab: Lab) -> None:
    lab.well("true", "gpu")
    job = lab.begin(
        "echo $DOCKER_HOST; until [ -e /share/asked-nothing ]; do sleep 0.1; done", "gpu"
    )
    lab.manager.started(job)
    generation = until(lambda: lab.generation("gpu-0"), "the agent is there")
    kinds = lab.belongings(generation)
    (lab.share / "asked-nothing").touch()
    assert lab.done(job).code == 0
    assert {*kinds} <= {"volumes"}  # that it works in
    assert not (lab.manager.state / "gateway/agents" / generation / "live/made").exists()


REFUSED = (
    "--privileged",
    "--pid host",
    "--network host",
    "--ipc host",
    "--uts host",
    "--cgroupns host",
    "--userns host",
    "-v /:/host",
    "-v /etc:/x:ro",
    "-v $PWD/../../etc:/x",
    "--mount type=bind,source=/dev,target=/x",
    "--device /dev/mem",
    "--device-cgroup-rule 'a *:* rwm'",
    "--cap-add SYS_ADMIN",
    "--cgroup-parent /",
    "--security-opt seccomp=unconfined",
    "--security-opt apparmor=unconfined",
    "--runtime evil",
    "--label io.mayfly.belongs=x",
    "--storage-opt size=1G",
    "-p 53:53/udp",
)


def test_the_docker_command_shows_each_refusal_as_a_sentence(lab: Lab) -> None:
    tries = "\n".join(
        f'docker run --rm {flags} "$IMAGE" true 2>said && echo "let through: "{flags!r}; head -n 1 said'
        for flags in REFUSED
    )
    done = lab.well(f"set +e\n{tries}\ndocker ps -aq")
    lines = done.lines
    assert len(lines) == len(REFUSED), done.out
    for flags, line in zip(REFUSED, lines, strict=True):
        _, found, sentence = line.partition("Error response from daemon: ")
        assert found, f"{flags}: {line}"
        assert " " in sentence, f"{flags}: {line}"
        assert "mf-" not in sentence, f"{flags}: {line}"


def test_the_refusals_of_a_job_are_told_with_it(lab: Lab) -> None:
    job = lab.begin('docker run --rm --privileged "$IMAGE" true')
    assert lab.done(job).code == 125
    row = lab.manager.job(job)
    assert row["refused"] == 1
    assert "privileged" in row["refusals"][0].lower()
    assert row["refusals"][0] in " ".join(lab.manager.cli("describe", job).stdout.split())
