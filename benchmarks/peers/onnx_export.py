"""The model in a folder -> onnx/model.onnx beside its weights: python onnx_export.py FOLDER."""

import sys
from pathlib import Path

import torch
from transformers import AutoModel

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class States(torch.nn.Module):
    """The model with its inputs in order and the last hidden states alone as its output."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        found = self.model(input_ids=ids, attention_mask=mask, token_type_ids=kinds)
        return found.last_hidden_state


def main() -> None:
    folder = Path(sys.argv[1])
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.ones(2, 7, dtype=torch.long)
    (folder / "onnx").mkdir(exist_ok=True)
    torch.onnx.export(
        States(model),
        (ids, ids, ids * 0),
        str(folder / "onnx" / "model.onnx"),
        input_names=list(INPUTS),
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in (*INPUTS, "last_hidden_state")},
        opset_version=17,
    )


if __name__ == "__main__":
    main()
