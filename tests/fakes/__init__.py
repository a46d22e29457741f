"""Fakes of the services: real HTTP, real paths, scripted faults; each can be started by hand.

python -m tests.fakes.github --port 8080
"""
