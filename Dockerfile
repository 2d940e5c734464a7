# Two images from one file, here and anywhere: Debian's Python, packages as locked.
#
#   control    the operator, the gateway and the fetch Job: no torch, no transformers
#   runtime    the server that embeds
#
# Packages lie in a layer of their own, so that a change of code makes one small new layer. Bytecode is compiled
# here and trusted unchecked, because the root is read-only and every start would compile anew.
#
#   BASE          any image with Debian 12 or newer and its apt
#   ACCELERATOR   of the runtime: cuda (whole) or cpu (what CUDA alone needs is left out: locks/runtime-cpu.txt names it)
#   TORCH_INDEX   an index with torch's own builds for that accelerator, in place of PyPI's CUDA build
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates python3 \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
  && groupadd --gid 10001 kubeembed \
  && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin kubeembed
ENV PATH=/opt/kubeembed/bin:/usr/local/bin:/usr/bin:/bin \
  HOME=/tmp \
  PYTHONDONTWRITEBYTECODE=1 \
  PYTHONUNBUFFERED=1

# Tools that install, mounted where they are needed and kept by no image.
FROM python AS tools
# Files in a mounted volume, where a network has its own certificate authority or package index.
ARG PIP_CONFIG_FILE
RUN apt-get update \
  && apt-get install -y --no-install-recommends binutils python3-venv
COPY locks/build.txt /opt/tools/
RUN python3 -m venv /opt/tools \
  && /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /opt/tools/build.txt
COPY locks/control.txt locks/runtime.txt locks/runtime-cpu.txt dev/images/stub_cuda.py dev/images/install.sh /opt/tools/

# A wheel with what one image needs of the project.
FROM tools AS code
WORKDIR /src
COPY LICENSE pyproject.toml ./
COPY operator/kubeembed_api operator/kubeembed_api/
COPY runtime/kubeembed_weights runtime/kubeembed_weights/
RUN touch README.md

FROM code AS control-code
COPY operator/kubeembed_operator operator/kubeembed_operator/
COPY operator/kubeembed_gateway operator/kubeembed_gateway/
RUN sh /opt/tools/install.sh project kubeembed-operator kubeembed-gateway kubeembed-weights

FROM code AS runtime-code
COPY runtime/kubeembed_runtime runtime/kubeembed_runtime/
RUN sh /opt/tools/install.sh project kubeembed-runtime

FROM python AS control
LABEL org.opencontainers.image.title="KubeEmbed control" \
  org.opencontainers.image.description="Operator, gateway and weights of KubeEmbed" \
  org.opencontainers.image.licenses="Apache-2.0"
# Hash of the locks: builders that do not look into mounts see by it that the next layer is out of date.
ARG LOCKS
ARG SSL_CERT_FILE
ARG UV_CONFIG_FILE
RUN --mount=type=bind,from=tools,target=/tools \
  --mount=type=cache,target=/var/cache/uv \
  sh /tools/opt/tools/install.sh packages control
COPY --from=control-code /out/ /opt/kubeembed/
USER 10001:10001
CMD ["kubeembed-operator"]

FROM python AS runtime
LABEL org.opencontainers.image.title="KubeEmbed runtime" \
  org.opencontainers.image.description="Text embeddings over HTTP" \
  org.opencontainers.image.licenses="Apache-2.0"
ARG ACCELERATOR=cpu
ARG TORCH_INDEX
ARG LOCKS
ARG SSL_CERT_FILE
ARG UV_CONFIG_FILE
RUN --mount=type=bind,from=tools,target=/tools \
  --mount=type=cache,target=/var/cache/uv \
  sh /tools/opt/tools/install.sh packages runtime
COPY --from=runtime-code /out/ /opt/kubeembed/
USER 10001:10001
ENTRYPOINT ["kubeembed-runtime"]
