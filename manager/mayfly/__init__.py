"""Mayfly keeps named slots on a GPU host filled with single-job CI agents."""

__version__ = "0.1.0"
