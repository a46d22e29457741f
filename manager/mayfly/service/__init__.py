"""The daemon: one thread that owns all state, and the workers that do its deeds."""
