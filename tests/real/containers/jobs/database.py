"""The example of Testcontainers' own documentation: a database is started and asked.

python3 -m tests.real.containers.jobs.database IMAGE
"""

from __future__ import annotations

import doctest
import sys

from testcontainers.community.postgres import PostgresContainer


def main() -> int:
    """Run it as the documentation has it; how many of its lines failed."""
    (found,) = doctest.DocTestFinder(recurse=False).find(PostgresContainer, "example")
    assert found.examples, "the documentation has no example any more"
    for line in found.examples:
        line.source = line.source.replace("postgres:16", sys.argv[1])
        line.want = line.want.replace("PostgreSQL 16", "PostgreSQL ")
    runner = doctest.DocTestRunner(verbose=True, optionflags=doctest.ELLIPSIS)
    return runner.run(found).failed


if __name__ == "__main__":
    sys.exit(main())
