"""The table of weights that a query's tokens have, for models that encode documents alone.

Either a JSON object of tokens and weights (OpenSearch's idf.json), or the folder of a module of
sentence-transformers, which has the weights of all ids, or names such a JSON file.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import read_json
from kubeembed_runtime.model.heads.layers import stored, weights_file


def query_weights(folder: Path, file: str | None, vocabulary: Tokenizer) -> NDArray[np.float32]:
    """(vocabulary,). file: what the recipe names; None looks for one. Raises StartFailed."""
    path = _found(folder) if file is None else folder / file
    if not path.is_dir():
        return _by_token(path, vocabulary)
    config = path / "config.json"
    named = read_json(config).get("path") if config.exists() else None
    if named is not None:
        return _by_token(folder / Path(named).name, vocabulary)
    weights: NDArray[np.float32] = stored(weights_file(path))["weight"].float().numpy()
    return weights


def _found(folder: Path) -> Path:
    modules = sorted(folder.glob("query_*_SparseStaticEmbedding"))
    path = modules[0] if modules else folder / "idf.json"
    if not path.exists():
        problem = f"{folder} has neither idf.json nor a query_*_SparseStaticEmbedding module"
        raise StartFailed(Reason.NO_USABLE_FILES, f"{problem}, for the weights of queries")
    return path


def _by_token(path: Path, vocabulary: Tokenizer) -> NDArray[np.float32]:
    weights = np.zeros(vocabulary.get_vocab_size(with_added_tokens=True), dtype=np.float32)
    for token, weight in read_json(path).items():
        entry = vocabulary.token_to_id(token)
        if entry is not None:
            weights[entry] = weight
    return weights
