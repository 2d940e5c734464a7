import pytest

from kubeembed_weights.selection import select

BGE_M3 = (
    "1_Pooling/config.json",
    "README.md",
    "colbert_linear.pt",
    "config.json",
    "imgs/bm25.jpg",
    "modules.json",
    "onnx/model.onnx",
    "onnx/tokenizer.json",
    "optimizer.pt",
    "pytorch_model.bin",
    "sentencepiece.bpe.model",
    "sparse_linear.pt",
    "tokenizer.json",
)


def test_pickled_weights_are_fetched_where_there_are_no_others() -> None:
    assert select(BGE_M3, "hf://BAAI/bge-m3") == [
        "1_Pooling/config.json",
        "colbert_linear.pt",
        "config.json",
        "modules.json",
        "pytorch_model.bin",
        "sentencepiece.bpe.model",
        "sparse_linear.pt",
        "tokenizer.json",
    ]


@pytest.mark.parametrize(
    ("present", "left_out"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["pytorch_model.bin"]),
        (["model-1.safetensors", "pytorch_model-1.bin"], ["pytorch_model-1.bin"]),
        (["pytorch_model-1.bin", "pytorch_model.bin.index.json", "training_args.bin"],
         ["training_args.bin"]),
        (["model.safetensors", "2_Dense/pytorch_model.bin", "2_Dense/config.json"], []),
        (["model.safetensors", "1_Dense/model.safetensors", "1_Dense/pytorch_model.bin"],
         ["1_Dense/pytorch_model.bin"]),
        (["model.safetensors", "query_0_SparseStaticEmbedding/model.safetensors"], []),
        (["model.safetensors", "backup/model.safetensors", "1_../x.json"], ["backup/model.safetensors"]),
    ],
    ids=["both", "both in parts", "pickled in parts", "head", "head twice", "query table", "others"],
)  # fmt: skip
def test_each_folder_gives_its_best_weights(present: list[str], left_out: list[str]) -> None:
    chosen = select(["config.json", *present], "hf://acme/mini")
    assert chosen == sorted({"config.json", *present} - set(left_out))
