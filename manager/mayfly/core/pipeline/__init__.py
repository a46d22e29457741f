"""Which jobs a change to a repository asks for: patterns of paths, what changed, the plan made of both.

Pure, as all of the core: git is asked and files are read at the edge, and how a service wants its jobs
written is known to its provider's package.
"""
