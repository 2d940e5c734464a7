"""Small models of transformers for tests."""

from pathlib import Path
from typing import Any

import torch

#: Of a configuration.
SHAPE: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


def weighty(model: Any) -> Any:
    """The model with weights that make a difference: the usual initial ones are tiny. The same each time."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def saved(model: Any, folder: Path) -> Path:
    """The model, made weighty, in `folder`."""
    weighty(model).save_pretrained(folder)
    return folder
