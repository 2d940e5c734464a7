"""A file -> the EmbeddingModel document in it: what a pod has mounted, and what a person writes."""

from pathlib import Path

import yaml

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.errors import InvalidSpec


def read_document(path: Path) -> EmbeddingModel:
    """Raises InvalidSpec for a file that is missing, no YAML, or no EmbeddingModel."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InvalidSpec(str(path), error.strerror or str(error)) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSpec(str(path), f"is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidSpec(str(path), "holds no EmbeddingModel document; write one")
    return parse(document)
