"""What the loop publishes, and who waits for it."""

from __future__ import annotations

import threading

from mayfly.service.board import StatusBoard


def test_before_the_first_pass_there_is_nothing() -> None:
    assert StatusBoard().read() is None
    assert StatusBoard().wait(0, 0.01) is None


def test_a_reader_sees_the_last_publication_whole() -> None:
    board = StatusBoard()
    assert [board.publish({"pass": n}) for n in range(3)] == [1, 2, 3]
    found = board.read()
    assert found is not None
    assert (found.rev, found.document) == (3, {"pass": 2})


def test_a_long_poll_returns_at_once_where_there_is_news_and_else_in_time() -> None:
    board = StatusBoard()
    board.publish({})
    assert board.wait(0, 3600) == board.read()
    assert board.wait(1, 0.01) == board.read()


def test_a_publication_wakes_everyone_who_waits() -> None:
    board = StatusBoard()
    seen: list[int] = []
    waiting = [
        threading.Thread(target=lambda: seen.append((board.wait(0, 30) or board.publish({})).rev))  # type: ignore[union-attr]
        for _ in range(8)
    ]
    for thread in waiting:
        thread.start()
    board.publish({})
    for thread in waiting:
        thread.join(10)
    assert seen == [1] * 8


def test_readers_never_see_a_number_go_back() -> None:
    board = StatusBoard()
    done = threading.Event()
    wrong: list[tuple[int, int]] = []

    def read() -> None:
        last = 0
        while not done.is_set():
            found = board.read()
            if found is not None:
                if found.rev < last or found.document["rev"] != found.rev:
                    wrong.append((last, found.rev))
                last = found.rev

    readers = [threading.Thread(target=read) for _ in range(4)]
    for thread in readers:
        thread.start()
    for number in range(1, 2000):
        board.publish({"rev": number})
    done.set()
    for thread in readers:
        thread.join(10)
    assert wrong == []
