"""Kubernetes as an engine: a bare pod an agent, in one namespace."""
