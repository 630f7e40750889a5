"""nginx, as Debian has it: a plain HTTP proxy (the free version verifies no tokens)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.machine import PROXY_CORE, free_port, started
from bench.peers.peer import Peer, Running, Site
from bench.programs import of_debian, version

PACKAGES = ("nginx", "libpcre2-8-0", "libssl3", "zlib1g", "libcrypt1")
_CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream server {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@contextlib.contextmanager
def _run(site: Site) -> Iterator[Running]:
    program = of_debian("nginx", PACKAGES, "usr/sbin/nginx")
    port = free_port()
    config = site.folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=site.folder, backend=site.backend, port=port))
    command: list[str | Path] = [program.path, "-c", config, "-p", site.folder, "-e", site.folder / "nginx-error.log"]
    with started(command, port, core=PROXY_CORE, env=program.env) as one:
        yield Running(port, (one.pid,), version=f"nginx {version(program.path, '-v')}")


PLAIN = Peer("nginx", "nginx", "nginx", "nothing", _run)
