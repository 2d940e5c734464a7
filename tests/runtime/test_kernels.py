"""Our CUDA kernels compile for every GPU that has what they need; where they are used says what they give."""

import pytest
import torch

from kubeembed_runtime.model import fused, norms
from kubeembed_runtime.model.kernels import compiled, kernel

pytest.importorskip("cuda.bindings.nvrtc")

CONSTANTS = {
    "add_norm": {"HIDDEN": 384},
    "add_adapters": {"MOST_RANKS": fused.MOST_RANKS, "PARTS": fused.MOST_PARTS},
}


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", CONSTANTS)
def test_a_kernel_compiles_without_a_gpu(
    name: str, dtype: torch.dtype, capability: tuple[int, int]
) -> None:
    code = compiled(name, dtype, capability, **CONSTANTS[name])
    assert code.startswith(b"\x7fELF")
    assert name.encode() in code


def test_what_does_not_compile_says_why() -> None:
    with pytest.raises(RuntimeError, match='identifier "HIDDEN" is undefined'):
        compiled("add_norm", torch.bfloat16, (9, 0))


def test_a_cpu_and_float32_have_none() -> None:
    cpu = torch.device("cpu")
    assert kernel("add_norm", "P", (32, 1), torch.bfloat16, cpu, HIDDEN=384) is None
    assert fused.adding(torch.bfloat16, cpu) is None


@pytest.mark.gpu
def test_a_gpu_without_compiler_leaves_it_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("kubeembed_runtime.model.kernels.compiled", fail)
    kernel.cache_clear()
    weight = torch.ones(384, device="cuda", dtype=torch.bfloat16)
    assert not norms.Norm(weight, weight, 1e-5).adds
    assert fused.adding(torch.bfloat16, weight.device) is None
    kernel.cache_clear()
