"""Jobs of a CI service through a pool while its service, the Engine's containers and the manager fail.

    make soak PROVIDER=github JOBS=200

A service joins with a file here, named for its provider, that has `open_service()`; see `Service`.
"""
