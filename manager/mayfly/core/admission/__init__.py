"""What of the Engine's API one agent may use for its job's own containers, and what of that goes out: pure.

`request.py` reads a request by one grammar, `objects.py` says where the things that it names are looked for,
`admit.py` decides, and `answers.py` says what of an answer is shown. All of it is an allow-list: a path, a
parameter or a key of a body that no table knows is refused by name. What goes out is always built anew and
never a client's own bytes, so that whatever two programs may read differently in these reaches nobody.
"""
