# syntax=docker/dockerfile:1
# Two images from one file: `api` (slim, without torch) and `worker` (with the engine).
#   docker build --target api -t ddservice-api .
#   docker build --target worker -t ddservice-worker .
# For a reproducible build give PYTHON_IMAGE with its digest.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/ddservice/bin:$PATH \
    DD_HOME=/var/lib/ddservice \
    DD_LOG_FORMAT=json
RUN groupadd --gid 10001 ddservice \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/ddservice --shell /usr/sbin/nologin ddservice \
    # Volumes mounted on these folders take over their owner.
    && install --directory --owner=10001 --group=10001 --mode=0700 \
        /var/lib/ddservice /var/lib/ddservice/artifacts /var/lib/ddservice/cache /var/lib/ddservice/runs

FROM ${PYTHON_IMAGE} AS source
WORKDIR /src
COPY . .

FROM source AS build-api
RUN python -m venv /opt/ddservice \
    && /opt/ddservice/bin/pip install --no-cache-dir --constraint constraints.txt '.[server,postgres,s3,oidc,optuna]'

FROM source AS build-worker
RUN python -m venv /opt/ddservice \
    && /opt/ddservice/bin/pip install --no-cache-dir --constraint constraints.txt '.[worker,postgres,s3,optuna,zoo]'

FROM base AS api
COPY --from=build-api /opt/ddservice /opt/ddservice
USER 10001:10001
WORKDIR /var/lib/ddservice
EXPOSE 8000
# Alive, not ready: a container must not be killed because its database is away.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('DD_PORT', '8000')}/healthz\", timeout=2)"]
CMD ["python", "-m", "app"]

FROM base AS worker
# The compiler is for torch.compile, which writes C++ (CPU) and Triton launchers (GPU); FriBiDi orders the letters of
# right-to-left class names in pictures.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libfribidi0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-worker /opt/ddservice /opt/ddservice
USER 10001:10001
WORKDIR /var/lib/ddservice
# No HEALTHCHECK: a worker that cannot work ends by itself, and its jobs are taken over when its lease is over.
CMD ["python", "-m", "worker"]
