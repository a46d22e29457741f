"""What the services' clients do with an Engine for a job in a container, call by call, as in their sources.

Each module is a program of the standard library alone, so that it runs wherever a client would: in an agent,
with the socket that is the agent's, or on a host beside a real Engine, for comparison.

    export DOCKER_HOST=unix:///… WORK=/…/_work IMAGE=base:job SERVICE=base:service
    python3 -m tests.real.containers.service_clients.github

It ends with 0 where the job ran as it does with an Engine of its own, and otherwise says what was not so.
What each call did is one line of JSON on its standard output. `images.py` makes the images that they need.
"""
