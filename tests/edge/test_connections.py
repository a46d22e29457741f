"""Connections: who is waited for gives up a place where there is no other, and nobody else does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mayfly.edge import connections
from mayfly.edge.connections import Connections
from mayfly.edge.places import Bounds

BOUNDS = Bounds(all=12, of_one=4, of_root=5, kept_for_root=1)
A, B, C, D, ROOT = 1001, 1002, 1003, 1004, 0


class Door:
    """Connections of which it is known who was hung up on."""

    def __init__(self, *, longest_yields: bool = False) -> None:
        self.hung_up: list[tuple[int, bool]] = []  # whose, and whether it had asked nothing
        self.users: dict[socket.socket, int] = {}
        self.connections = Connections(BOUNDS, self._hang_up, longest_yields=longest_yields)
        self._opened = ExitStack()

    def _hang_up(self, connection: socket.socket, asking: bool) -> None:
        self.hung_up.append((self.users.pop(connection), asking))

    def come(self, *users: int) -> list[socket.socket]:
        """One more connection of each; those that were let in."""
        found = []
        for user in users:
            connection = self._opened.enter_context(socket.socket())
            if self.connections.admit(connection, user):
                self.users[connection] = user
                found.append(connection)
        return found

    def close(self) -> None:
        self._opened.close()


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


def test_slow_clients_of_several_users_keep_nobody_out(door: Door) -> None:
    first, *_ = door.come(*[A] * 4, *[B] * 4, *[C] * 3)
    assert door.come(D)
    assert door.hung_up == [(A, True)], "who has most gives up the one that is waited for longest"
    assert first not in door.users
    assert not door.come(A), "begun again at once it takes nobody's"
    assert door.come(D)
    assert not door.come(C, C), "nobody gives up one for who has about as many"
    assert door.hung_up == [(A, True), (B, True)]
    assert door.come(ROOT), "and root's is kept"


def test_one_user_s_own_bound_is_no_reason_to_hang_up_on_anybody(door: Door) -> None:
    assert len(door.come(*[A] * 9)) == BOUNDS.of_one
    assert not door.hung_up


def test_what_the_manager_is_at_work_for_is_never_given_up(door: Door) -> None:
    for connection in door.come(*[A] * 4, *[B] * 4, *[C] * 3):
        assert door.connections.works(connection)
    assert not door.come(D)
    assert not door.hung_up


def test_who_does_not_read_its_answer_gives_its_place_up_and_is_told_nothing(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READING", 600.0)
    for connection in door.come(*[A] * 4, *[B] * 4, *[C] * 3):
        assert door.connections.works(connection)
        door.connections.waits(connection, asking=False)
    assert not door.come(D), "each has a while to read"
    monkeypatch.setattr(connections, "READING", 0.0)
    for connection in door.users:
        door.connections.waits(connection, asking=False)
    assert door.come(D)
    assert door.hung_up == [(A, False)], "what it asked for may have been done"


def test_a_request_whose_place_was_given_up_is_not_answered(door: Door) -> None:
    first, *_ = door.come(*[A] * 4, *[B] * 4, *[C] * 3)
    assert door.come(D)
    assert not door.connections.works(first)


def test_root_gives_up_what_others_lack_and_only_where_it_helps(door: Door) -> None:
    roots = door.come(*[ROOT] * 5)
    door.come(*[A] * 4, *[B] * 3)
    assert door.come(D)
    assert door.hung_up == [(ROOT, True)]
    for connection in roots[1:]:
        door.connections.leave(connection)
    assert len(door.come(*[C] * 4)) == 3, "one is kept for root"


def test_a_place_that_is_left_is_another_s(door: Door) -> None:
    first, *_ = door.come(*[A] * 4)
    door.connections.leave(first)
    door.connections.leave(first)
    assert door.come(A)
    assert not door.come(A)


def test_behind_one_address_who_comes_gets_the_place_of_who_is_waited_for_longest() -> None:
    door = Door(longest_yields=True)
    first, *_ = door.come(*[A] * BOUNDS.of_one)
    assert door.come(A)
    assert first not in door.users
    door.come(*range(2000, 2000 + BOUNDS.all))
    working = [one for one in door.users if door.connections.works(one)]
    assert not door.come(B), "what the manager is at work for is never given up"
    assert set(working) == set(door.users)
    door.close()
