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
    """(vocabulary,), or more. file: what the recipe names; None looks for one. Raises StartFailed."""
    size = 1 + max(vocabulary.get_vocab(with_added_tokens=True).values())
    path = _found(folder) if file is None else folder / file
    if not path.is_dir():
        return _by_token(path, vocabulary, size)
    config = path / "config.json"
    named = read_json(config).get("path") if config.exists() else None
    if named is not None:
        return _by_token(folder / Path(named).name, vocabulary, size)
    return _by_id(weights_file(path), size)


def _found(folder: Path) -> Path:
    modules = sorted(folder.glob("query_*_SparseStaticEmbedding"))
    path = modules[0] if modules else folder / "idf.json"
    if not path.exists():
        problem = f"{folder} has neither idf.json nor a query_*_SparseStaticEmbedding module"
        raise StartFailed(Reason.NO_USABLE_FILES, f"{problem}, for the weights of queries")
    return path


def _by_id(file: Path, size: int) -> NDArray[np.float32]:
    """A weight for each of `size` ids at least: a text with another one would fail its whole batch."""
    tensors = stored(file)
    if "weight" not in tensors:
        problem = f"{file} has {', '.join(sorted(tensors))}; needed: weight"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    weights: NDArray[np.float32] = tensors["weight"].float().numpy()
    if weights.ndim != 1 or len(weights) < size:
        problem = f"{file} has weights of shape {weights.shape}; the tokenizer has {size} tokens"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return weights


def _by_token(path: Path, vocabulary: Tokenizer, size: int) -> NDArray[np.float32]:
    weights = np.zeros(size, dtype=np.float32)
    for token, weight in read_json(path).items():
        if not isinstance(weight, int | float):
            problem = f"{path} has {weight!r} for the token {token!r}; it must be a number"
            raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
        entry = vocabulary.token_to_id(token)
        if entry is not None:
            weights[entry] = weight
    return weights
