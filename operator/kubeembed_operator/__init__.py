"""The control plane: EmbeddingModel objects become fetch Jobs, Deployments and Services."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kubeembed")
except PackageNotFoundError:
    __version__ = "0.0.0"
