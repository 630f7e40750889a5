# Builds a virtual environment, and copies it into an image without build tools.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY sidecar ./sidecar
RUN python -m venv /opt/mcp-sidecar \
    && /opt/mcp-sidecar/bin/pip install --no-cache-dir '.[embedded]' \
    && /opt/mcp-sidecar/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/mcp-sidecar --create-home mcp-sidecar
COPY --from=build /opt/mcp-sidecar /opt/mcp-sidecar
ENV PATH=/opt/mcp-sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# config.yaml and policies/ are mounted here; the embedded store needs a directory of /var/lib/mcp-sidecar.
WORKDIR /etc/mcp-sidecar
USER 10001
EXPOSE 8080 9090
# Where `admin` listens on another port, override this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["mcp-sidecar"]
CMD ["serve"]
