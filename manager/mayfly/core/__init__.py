"""What Mayfly knows and decides: values in, values out.

Nothing in here does I/O, reads a clock, starts a thread or writes a log line.
"""
