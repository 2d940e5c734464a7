"""A real single-node Kubernetes for a machine that has none.

Standard library only: it has to run before any environment exists.
"""
