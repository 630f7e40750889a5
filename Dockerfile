# Builds a virtual environment from deploy/*.lock, and copies it into an image without build tools.
# The release workflow gives BASE with its digest, and SOURCE_DATE_EPOCH: the same commit then gives the same image.
ARG BASE=python:3.13.18-slim-trixie

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
WORKDIR /src
COPY deploy/requirements.lock deploy/build.lock deploy/
RUN python -m venv /opt/mcp-sidecar \
    && /opt/mcp-sidecar/bin/pip install --no-compile --require-hashes --no-deps --only-binary :all: \
       -r deploy/requirements.lock \
    && python -m venv /build \
    && /build/bin/pip install --require-hashes --no-deps --only-binary :all: -r deploy/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY sidecar ./sidecar
# Modules are compiled here, because the file system is read-only later; by hash, because a build has its own times.
RUN SOURCE_DATE_EPOCH=315532800 /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/mcp-sidecar/bin/pip install --no-compile --no-index --no-deps /dist/*.whl \
    && /opt/mcp-sidecar/bin/pip check \
    && /opt/mcp-sidecar/bin/pip uninstall --yes pip setuptools \
    && /opt/mcp-sidecar/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/mcp-sidecar/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="mcp-policy-sidecar" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN echo 'mcp-sidecar:x:10001:' >> /etc/group \
    && echo 'mcp-sidecar:x:10001:10001::/var/lib/mcp-sidecar:/usr/sbin/nologin' >> /etc/passwd \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/mcp-sidecar
COPY --from=build /opt/mcp-sidecar /opt/mcp-sidecar
# The shipped config reads STORE_DIRECTORY: the embedded store is on the volume.
ENV PATH=/opt/mcp-sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STORE_DIRECTORY=/var/lib/mcp-sidecar/store
# config.yaml and policies/ are mounted here.
WORKDIR /etc/mcp-sidecar
USER 10001:10001
VOLUME /var/lib/mcp-sidecar
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# Where `admin` listens on another port, override this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-S", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["mcp-sidecar"]
CMD ["serve"]
