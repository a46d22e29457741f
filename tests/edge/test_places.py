"""Places at the control socket: whatever one user takes, the others have theirs."""

from __future__ import annotations

from mayfly.edge.places import Bounds, Places
from mayfly.edge.unix_http import CONNECTIONS, USERS
from mayfly.service.attachments import BOUNDS as BOUNDS_OF_TERMINALS
from mayfly.service.attachments import BOUNDS_OF_USERS as TERMINALS_OF_USERS
from mayfly.service.control import LONG_POLLS, LONG_POLLS_OF_USERS, UPLOADS, UPLOADS_OF_USERS

BOUNDS = Bounds(all=10, of_one=4, of_root=6, kept_for_root=2)


def taken(places: Places, uid: int) -> int:
    """How many places a user gets who takes all that there are."""
    return sum(1 for _ in range(100) if places.take(uid))


def test_root_leaves_one_user_all_its_places() -> None:
    places = Places(BOUNDS)
    assert (taken(places, 0), taken(places, 1000)) == (6, 4)


def test_the_others_together_leave_root_some() -> None:
    places = Places(BOUNDS)
    assert [taken(places, uid) for uid in (1000, 1001, 1002, 0)] == [4, 4, 0, 2]


def test_a_place_that_is_given_back_is_another_s() -> None:
    places = Places(BOUNDS)
    taken(places, 1000)
    places.give_back(1000)
    assert taken(places, 1000) == 1


def test_the_bounds_in_force_do_so_too() -> None:
    assert CONNECTIONS.of_root + CONNECTIONS.of_one <= CONNECTIONS.all
    assert LONG_POLLS.of_root + LONG_POLLS.of_one <= LONG_POLLS.all
    # Who waits leaves room for the same user's questions that do not.
    assert LONG_POLLS.of_one < CONNECTIONS.of_one
    assert LONG_POLLS.of_root < CONNECTIONS.of_root
    # None of them gives its place up, however slow (docs/adr/0004-locks.md): there are more than these.
    for waiting, sending, talking, all_of_them in (
        (LONG_POLLS, UPLOADS, BOUNDS_OF_TERMINALS, CONNECTIONS),
        (LONG_POLLS_OF_USERS, UPLOADS_OF_USERS, TERMINALS_OF_USERS, USERS.bounds),
    ):
        others_than_root = all_of_them.all - all_of_them.kept_for_root
        assert waiting.all + sending.all + talking.all < others_than_root
        assert waiting.of_one + sending.of_one < all_of_them.of_one
