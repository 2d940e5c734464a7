"""The data plane: requests of models that sleep are held, and one address leads to all models."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kubeembed")
except PackageNotFoundError:
    __version__ = "0.0.0"
