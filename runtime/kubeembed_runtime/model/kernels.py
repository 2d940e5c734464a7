"""CUDA kernels of our own -> callables, compiled at load for the GPU at hand.

NVRTC and its bindings come with torch, and no C compiler is in the image. The sources lie beside this module.
"""

import ctypes
import logging
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any

import torch

logger = logging.getLogger(__name__)

#: The oldest GPUs with products of both 16-bit formats.
OLDEST = (8, 0)

#: As cuda.h has them: what follows is the address of all parameters, that of their size, nothing.
_BUFFER, _SIZE, _END = 1, 2, 0


class Kernel:
    """A function of the GPU.

    given: of its parameters, as `struct` has them: P for an address, i and f for numbers of 32 bits. shape:
    the threads of a block.
    """

    def __init__(self, function: Any, given: str, shape: tuple[int, int]) -> None:
        import cuda.bindings.driver as driver

        self._function, self._launch = function, driver.cuLaunchKernel
        self._given, self._shape = Struct(given), (*shape, 1)
        self._size = ctypes.c_size_t(self._given.size)

    def __call__(self, blocks: int, *given: int | float) -> None:
        """On the current stream. An address is that of memory which lives until the stream has got there."""
        packed = ctypes.c_char_p(self._given.pack(*given))
        told = (ctypes.c_void_p * 5)(
            _BUFFER, ctypes.cast(packed, ctypes.c_void_p), _SIZE, ctypes.addressof(self._size), _END
        )
        stream = torch.cuda.current_stream().cuda_stream
        place = (blocks, 1, 1, *self._shape, 0, stream, 0, ctypes.addressof(told))
        _checked(self._launch(self._function, *place))


@cache
def kernel(
    name: str,
    given: str,
    shape: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
    **constants: int,
) -> Kernel | None:
    """That of the file of its name; `given` and `shape` as in Kernel.

    None where this device, or this precision, has none.
    """
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return None
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        return None
    try:
        import cuda.bindings.driver as driver

        code = compiled(name, dtype, capability, **constants)
        module = _checked(driver.cuModuleLoadData(code))
        function = _checked(driver.cuModuleGetFunction(module, name.encode()))
        return Kernel(function, given, shape)
    except (ImportError, OSError, RuntimeError) as error:
        logger.warning("%s is left to kernels of torch: %s", name, error)
        return None


def compiled(name: str, dtype: torch.dtype, capability: tuple[int, int], **constants: int) -> bytes:
    """Machine code. Needs no GPU. Raises RuntimeError with what the compiler says."""
    import cuda.bindings.nvrtc as nvrtc

    here = Path(__file__)
    source = "".join(here.with_name(file).read_text() for file in ("half.cuh", f"{name}.cu"))
    constants["BFLOAT16" if dtype is torch.bfloat16 else "FLOAT16"] = 1
    options = [f"--gpu-architecture=sm_{capability[0]}{capability[1]}"]
    options += [f"--define-macro={each}={value}" for each, value in constants.items()]
    encoded = [option.encode() for option in options]
    program = _checked(nvrtc.nvrtcCreateProgram(source.encode(), b"", 0, [], []))
    try:
        [error] = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
        if error != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytes(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
            _checked(nvrtc.nvrtcGetProgramLog(program, log))
            raise RuntimeError(log.decode())
        code = bytes(_checked(nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc.nvrtcGetCUBIN(program, code))
        return code
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _checked(answer: tuple[Any, ...]) -> Any:
    """What the bindings give beside the error. Raises RuntimeError for one."""
    error, *values = answer
    if error.value != 0:
        raise RuntimeError(f"CUDA: {error}")
    return values[0] if values else None
