# The demo's MCP server, as an example of one without authentication. It is not hardened and not for production.
ARG BASE=python:3.13.18-slim-trixie
FROM ${BASE}
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sidecar ./sidecar
RUN pip install --no-cache-dir '.[demo]'
COPY demo ./demo
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "demo.backend", "--host", "0.0.0.0", "--port", "8000"]
