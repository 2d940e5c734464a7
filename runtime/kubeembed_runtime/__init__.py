"""The encoder server: one EmbeddingModel document -> vectors over HTTP.

Three wings that know each other only through requests.py and errors.py: api/ (transport), batcher.py and
pipeline.py (scheduling), model/ (texts to vectors). __main__, serving and loading wire them.
"""

from importlib.metadata import version

__version__ = version("kubeembed")
