"""What a cluster's probes are told, by the manager's own word."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from functools import partial

import pytest

from mayfly.service import probes
from mayfly.service.board import StatusBoard
from mayfly.service.metrics import serve
from mayfly.service.probes import why_not_alive, why_not_ready
from tests.service.standin import status

UNSEEN = {"code": "engine.unknown", "text": "the API server does not answer"}


def test_a_manager_is_ready_once_it_has_seen_its_engine_and_alive_before() -> None:
    board = StatusBoard()
    assert why_not_ready(board) == "no pass has ended yet"
    assert why_not_alive(board) is None
    board.publish(status(health=[UNSEEN]))
    assert why_not_ready(board) == "the API server does not answer"
    board.publish(status(health=[{"code": "slot.held", "text": "a person is needed"}]))
    assert why_not_ready(board) is None


def test_a_manager_whose_loop_stands_still_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    board = StatusBoard()
    board.publish(status())
    monkeypatch.setattr(probes, "SILENT", -1.0)
    assert str(why_not_alive(board)).startswith("no pass has ended for")
    assert why_not_ready(board) == why_not_alive(board)


def test_probes_are_answered_beside_the_metrics_where_a_pod_is_asked() -> None:
    board = StatusBoard()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def fails(where: str, error: BaseException) -> None:
        raise AssertionError(where) from error

    paths = {"/livez": partial(why_not_alive, board), "/readyz": partial(why_not_ready, board)}
    close = serve(f"0.0.0.0:{port}", lambda: b"up 1\n", fails, paths)

    def asked(path: str, host: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    try:
        assert asked("/livez", "10.98.0.7:9925") == (200, "ok\n")
        assert asked("/readyz", "10.98.0.7:9925") == (503, "no pass has ended yet\n")
        board.publish(status())
        assert asked("/readyz", f"mayfly.mayfly.svc:{port}") == (200, "ok\n")
        assert asked("/metrics", "10.98.0.7") == (200, "up 1\n")
        assert asked("/metrics", "rebound.example")[0] == 421
        code, text = asked("/other", "10.98.0.7")
        assert code == 404
        assert "/metrics, /livez, /readyz" in text
    finally:
        close()
