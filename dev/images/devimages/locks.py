"""pyproject.toml -> the lock files that the images are installed from, in the versions of locks/dev.txt.

runtime-cpu.txt is runtime.txt without what CUDA alone needs. PyPI has torch for Linux with CUDA only; what
stays of it is the CUDA runtime, which torch asks whether there is a device, and CUPTI, whose data it reads.
"""

from devimages.console import step
from devimages.places import CHECKOUT
from devimages.process import run

COMPILE = (
    *("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header"),
    *("--no-emit-index-url", "--no-emit-find-links", "--constraint", "locks/dev.txt"),
)

#: torch imports without these: the libraries as stubs (stub_cuda.py), the others not at all.
CUDA_ONLY = (
    "cuda-bindings",
    "cuda-pathfinder",
    "cuda-toolkit",
    "nvidia-cublas",
    "nvidia-cuda-cccl",
    "nvidia-cuda-nvrtc",
    "nvidia-cudnn-cu13",
    "nvidia-cufft",
    "nvidia-cufile",
    "nvidia-cusolver",
    "nvidia-cusparse",
    "nvidia-cusparselt-cu13",
    "nvidia-nccl-cu13",
    "nvidia-nvjitlink",
    "nvidia-nvshmem-cu13",
    "nvidia-nvtx",
    "triton",
)

#: Lock file -> what uv compiles it from.
LOCKS: dict[str, tuple[str, ...]] = {
    "build": ("locks/build.in",),
    "control": ("pyproject.toml", "--extra=operator", "--extra=weights"),
    "runtime": ("pyproject.toml", "--extra=runtime", "--extra=tracing"),
    "runtime-cpu": (
        *("pyproject.toml", "--extra=runtime", "--extra=tracing"),
        *(f"--no-emit-package={name}" for name in CUDA_ONLY),
    ),
}


def write() -> None:
    """Brings the lock files up to date with pyproject.toml and locks/dev.txt. Needs uv."""
    for lock, arguments in LOCKS.items():
        with step(f"locks/{lock}.txt") as running:
            words = [uv(), *COMPILE, *arguments, "--output-file", f"locks/{lock}.txt"]
            run(["env", "-C", CHECKOUT, *words], running)


def uv() -> str:
    """The project's own, as `make setup` installs it, or the machine's."""
    own = CHECKOUT / ".venv" / "bin" / "uv"
    return str(own) if own.exists() else "uv"
