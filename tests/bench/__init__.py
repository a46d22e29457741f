"""The numbers of Mayfly, each measured beside what it is compared with: ``python -m tests.bench``."""
