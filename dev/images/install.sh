#!/bin/sh
# What the Dockerfile's stages install into /opt/kubeembed.
#   install.sh packages control|runtime   the locked packages, with the tools' stage mounted at /tools
#   install.sh project SCRIPT...          the project alone, to /out; the scripts are those that stay
set -eu

TORCH_INDEX=${TORCH_INDEX:-}
export UV_CACHE_DIR=/var/cache/uv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_PROGRESS=1
export UV_PYTHON=/opt/kubeembed/bin/python
# Else Python reads and hashes every source file at each start, to see whether the bytecode is still its own.
export PYC_INVALIDATION_MODE=UNCHECKED_HASH

install() {
  uv pip install --no-deps --only-binary :all: "$@"
}

environment() {
  python3 -m venv --without-pip /opt/kubeembed
  rm /opt/kubeembed/bin/[Aa]ctivate*
}

packages() {
  PATH=/tools/opt/tools/bin:$PATH
  tools=/tools/opt/tools
  lock=$tools/$1.txt
  if [ "$1" = runtime ] && [ "$ACCELERATOR" = cpu ]; then
    lock=$tools/runtime-cpu.txt
  fi
  environment
  # torch's own builds have other hashes than the lock's; the version is the lock's all the same.
  if [ "$1" = runtime ] && [ -n "$TORCH_INDEX" ]; then
    version=$(sed -n 's/^torch==\([^ ]*\).*/\1/p' "$lock")
    install --index "$TORCH_INDEX" "torch==$version"
  fi
  install --require-hashes -r "$lock"
  if [ "$1" = runtime ] && [ "$ACCELERATOR" = cpu ]; then
    trim
  elif [ "$1" = runtime ]; then
    compiler
  fi
  rm -f /opt/kubeembed/.lock
}

trim() {
  site=$("$UV_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # Headers and protoc serve to compile kernels, which nobody does on CPU.
  rm -rf "$site/torch/include" "$site"/torch/bin/protoc*
  if [ -z "$TORCH_INDEX" ]; then
    PATH=$PATH:/tools/usr/bin LD_LIBRARY_PATH=/tools/usr/lib/$(uname -m)-linux-gnu \
      python3 "$tools/stub_cuda.py" "$site"
  fi
  "$UV_PYTHON" -c 'import torch; assert not torch.cuda.is_available()'
}

# Triton, and with it torch.compile, builds its launchers with a C compiler when a kernel is first used.
compiler() {
  apt-get update
  apt-get install -y --no-install-recommends gcc libc6-dev libpython3-dev
  rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
}

project() {
  PATH=/opt/tools/bin:$PATH
  environment
  python3 -m hatchling build -t wheel -d /dist
  install --no-cache /dist/*.whl
  mkdir /out /out/bin
  for script in "$@"; do
    cp "/opt/kubeembed/bin/$script" /out/bin/
  done
  cd /opt/kubeembed
  cp -a --parents lib/python*/site-packages/kubeembed* /out/
}

"$@"
