"""A real single-node Kubernetes for a machine that has none. Standard library only: it runs before any environment exists."""
