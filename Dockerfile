# syntax=docker/dockerfile:1
# Limpid with its default encoder ready to run: no download and no export when a container starts.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Where pip finds torch built for CPUs; without it, torch's CUDA libraries add several GB to the image.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/limpid
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY core core
COPY ingest ingest
COPY search search
COPY eval eval
COPY api api
RUN /opt/limpid/bin/pip install --extra-index-url "${TORCH_INDEX_URL}" -c constraints.txt .

# The encoder's graph and the token ranks are made here, once. What OpenVINO compiled for the building machine's
# processor is dropped: each machine compiles for its own at the first start.
ENV LIMPID_CACHE_DIR=/var/cache/limpid
RUN /opt/limpid/bin/python -c "from pathlib import Path; \
from core.embed import open_embedder; \
from core.embed.weights import DEFAULT_MODEL; \
from core.tokens import LlmTokenizer; \
cache = Path('/var/cache/limpid'); \
encoder = open_embedder(DEFAULT_MODEL, cache, offline=True); \
assert encoder.runtime == 'openvino', encoder.runtime; \
LlmTokenizer(cache_dir=cache / 'tiktoken')" \
 && rm -rf /var/cache/limpid/graphs/*/compiled

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --create-home limpid && install -d -o limpid -g limpid /data
COPY --from=build /opt/limpid /opt/limpid
COPY --from=build --chown=limpid:limpid /var/cache/limpid /var/cache/limpid
# Models from a hub are kept beside the graphs made of them.
ENV PATH=/opt/limpid/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LIMPID_CACHE_DIR=/var/cache/limpid \
    LIMPID_INDEX=/data/index \
    LIMPID_HOST=0.0.0.0 \
    HF_HOME=/var/cache/limpid/huggingface
USER limpid
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["limpid"]
CMD ["serve"]
