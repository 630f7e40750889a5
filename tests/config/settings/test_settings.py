"""config.yaml: accepted values, defaults, and messages about mistakes."""

from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from sidecar.config.documents.merging import DocumentError, parse
from sidecar.config.files import load_settings
from sidecar.config.settings.scalars import duration_text, size_text
from sidecar.config.settings.settings import Address, Settings, settings_of
from sidecar.config.settings.settings_schema import settings_schema

ASKED = "client_id: a, client_secret: hunter2"
MINIMAL = """\
resource: https://mcp.example.com/mcp
backend: {url: "http://127.0.0.1:8000/mcp"}
issuers: [{issuer: "https://example.com/api/auth"}]
"""
COMPLETE = """\
resource: https://mcp.example.com/mcp
listen: {address: "[::]:8443", tls: {cert: tls/cert.pem, key: /tls/key.pem}}
admin: 127.0.0.1:9090
hosts: [LB.internal, "10.0.0.1:8443", "[::1]"]
origins: [https://app.example.com, "http://localhost:5173"]
backend:
  url: https://backend:8000/mcp?x=1
  headers: {Authorization: Bearer abc, X-Api-Key: k}
  tls: {ca: ca.pem, cert: client.pem, key: client.key}
  connect_timeout: 250ms
  timeout: 2m
  idle_timeout: 1h
  keepalive: 15s
issuers:
- issuer: https://example.com/api/auth
  id: main
  jwks_uri: https://example.com/api/auth/jwks
  algorithms: [ES256]
  audience: https://other.example.com
  typ: [at+jwt, JWT]
  leeway: 0s
  claims: {account: org, client_id: azp, scopes: https://example.com/scopes}
- issuer: http://localhost:9000
  id: local
  introspection: {url: "http://127.0.0.1:9000/introspect?v=2", client_id: sidecar, client_secret: hunter2, cache: 1m}
store: {url: "rediss://:pw@valkey:6380/1"}
policies: [a.yaml, /etc/b.yaml]
limits: {body: 2MiB, header: 8KiB, json_depth: 32, items: 100, response: 1GiB, memory: 32GiB, in_flight: 10,
  in_flight_per_account: 5, streams_per_account: 2}
workers: 4
shutdown_grace: 0s
log: {format: json, level: debug}
"""


def settings(text: str) -> Settings:
    return settings_of(parse("config.yaml", text), Path("/etc/sidecar"))


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        settings(text)
    return [str(problem) for problem in caught.value.problems]


def test_silence_means_the_documented_defaults():
    given = settings(MINIMAL)
    assert given.listen[0].address == Address("0.0.0.0", 8080)
    assert given.listen[0].tls is None
    assert given.admin == (Address("127.0.0.1", 9090),)
    assert given.admin_hosts == ()
    assert (given.hosts, given.origins) == ((), ())
    backend = given.backend
    assert (backend.connect_timeout, backend.timeout, backend.idle_timeout, backend.keepalive) == (5, 300, 300, 15)
    assert dict(backend.headers) == {}
    (issuer,) = given.issuers
    assert (issuer.id, issuer.jwks_uri, issuer.audience, issuer.typ) == ("main", None, None, None)
    assert "RS256" in issuer.algorithms
    assert issuer.claims.account == "sub"
    assert given.store.embedded
    assert given.store.directory == Path("/etc/sidecar/var/store")
    assert given.policies == Path("/etc/sidecar/policies")
    limits = given.limits
    assert (limits.body, limits.header, limits.response) == (1048576, 16384, 67108864)
    assert limits.memory == 512 << 20
    assert (limits.json_depth, limits.items) == (64, 500)
    assert (limits.in_flight, limits.in_flight_per_account, limits.streams_per_account) == (1000, 250, 32)
    assert (given.workers, given.shutdown_grace, given.log.format, given.log.level) == (1, 30, "json", "info")


def test_everything_can_be_said():
    given = settings(COMPLETE)
    assert given.listen[0].address == Address("::", 8443)
    assert str(given.listen[0].address) == "[::]:8443"
    assert given.listen[0].tls is not None
    assert given.listen[0].tls.cert == Path("/etc/sidecar/tls/cert.pem")
    assert given.listen[0].tls.key == Path("/tls/key.pem")
    assert given.hosts == ("lb.internal", "10.0.0.1:8443", "[::1]")
    assert given.backend.connect_timeout == 0.25
    assert given.backend.headers["Authorization"] == "Bearer abc"
    assert given.issuers[0].audience == ("https://other.example.com",)
    assert given.issuers[0].typ == ("at+jwt", "JWT")
    assert given.issuers[0].leeway == 0
    assert given.issuers[1].id == "local"
    assert not given.store.embedded
    assert given.policies == (Path("/etc/sidecar/a.yaml"), Path("/etc/b.yaml"))
    assert given.limits.response == 1 << 30
    assert given.shutdown_grace == 0


def test_settings_are_immutable_and_do_not_show_secrets():
    given = settings(COMPLETE)
    with pytest.raises(ValueError, match="frozen"):
        given.workers = 2
    assert "Bearer abc" not in repr(given)
    assert ":pw@" not in repr(given)
    introspection = given.issuers[1].introspection
    assert introspection is not None
    assert (introspection.client_id, introspection.client_secret.get_secret_value()) == ("sidecar", "hunter2")
    assert introspection.cache == 60
    assert "hunter2" not in f"{given!r}{given}{given.model_dump()}"


def with_line(line: str) -> str:
    """The minimal config with one section replaced or added; the line is then the last."""
    key = line.split(":")[0]
    return "".join(each + "\n" for each in MINIMAL.splitlines() if not each.startswith(f"{key}:")) + line + "\n"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("resource: mcp.example.com", "resource: not a URL; accepted: an absolute http:// or https:// URL"),
        ("resource: https://a b/mcp", "resource: not a URL"),
        ("resource: https://exämple.com/mcp", "resource: not a URL"),
        ("resource: https://example.com:99999/mcp", "resource: not a URL"),
        ("resource: ftp://example.com/mcp", "resource: not a URL"),
        ("resource: https:///mcp", "resource: not a URL"),
        ("resource: https://u:p@example.com/mcp", "resource: a URL with a user or password in it"),
        ("resource: 'https://example.com/mcp#x'", "resource: a URL with a fragment"),
        ("resource: https://example.com/mcp?x", "resource: a URL with a query; accepted: a URL without '?'"),
        ("resource: http://example.com/mcp", "resource: http:// to another machine; accepted: https://, or http://"),
        ("resource: 5", "resource: an integer is given; accepted: text"),
        ("listen: 8080", "listen: an integer is given; accepted: host:port, or {address"),
        ("listen: ':8080'", "listen: not an address; accepted: host:port such as 127.0.0.1:8080 or [::1]:8080"),
        ("listen: ::1:8080", "listen: not an address"),
        ("listen: localhost:65536", "listen: not an address"),
        ("listen: {address: 'a:1', tls: {cert: a}}", "listen.tls.key: required but missing"),
        ("listen: []", "listen: no address; accepted: an address, or a list of at least one"),
        ("listen: [8080]", "listen[0]: an integer is given; accepted: host:port, or {address"),
        ("listen: ['a:1', {address: 'a:2', tls: {cert: a}}]", "listen[1].tls.key: required but missing"),
        (
            "listen: ['a:1', 'b:1', 'a:1']",
            "listen: two addresses that cannot both be bound; accepted: addresses that do not include each other",
        ),
        ("listen: ['127.0.0.1:1', '0.0.0.0:1']", "listen: two addresses that cannot both be bound"),
        ("listen: ['127.0.0.1:1', 'localhost:1']", "listen: two addresses that cannot both be bound"),
        ("listen: ['[::]:1', 'localhost:1']", "listen: two addresses that cannot both be bound"),
        ("listen: ['[::]:1', '[::1]:1']", "listen: two addresses that cannot both be bound"),
        ("listen: ['[::1]:1', '[0:0:0:0:0:0:0:1]:1']", "listen: two addresses that cannot both be bound"),
        ("admin: ['Localhost:8081', '[::1]:8081']", "admin: two addresses that cannot both be bound"),
        ("admin: ['127.0.0.1:1', 5]", "admin[1]: an integer is given; accepted: host:port, as text"),
        ("admin: ['127.0.0.1:1', '[::]:8080']", "admin: overlaps an address of `listen`"),
        ("admin_hosts: ['a/b']", "admin_hosts[0]: not a Host name"),
        ("admin: 127.0.0.1:8080", "admin: overlaps an address of `listen`"),
        ("admin: 0.0.0.0:8080", "admin: overlaps an address of `listen`; accepted: another port or host"),
        ("hosts: ['a/b']", "hosts[0]: not a Host name; accepted: name or name:port"),
        ("hosts: ['*']", "hosts[0]: not a Host name"),
        ("hosts: example.com", "hosts: text is given; accepted: a list"),
        ("origins: ['*']", "origins[0]: not an origin as browsers send it; accepted: scheme://host or"),
        ("origins: ['null']", "origins[0]: not an origin"),
        ("origins: ['https://example.com/']", "origins[0]: not an origin"),
        ("origins: ['https://example.com:443']", "origins[0]: not an origin"),
        ("origins: ['https://Example.com']", "origins[0]: not an origin"),
        ("backend: {}", "backend.url: required but missing"),
        ("backend: {url: 'unix:///x'}", "backend.url: not a URL"),
        (
            "backend: {url: 'http://b', timeout: 5}",
            "backend.timeout: an integer is given; accepted: text such as 250ms",
        ),
        ("backend: {url: 'http://b', timeout: 5 s}", "backend.timeout: not a duration; accepted: a duration such as"),
        ("backend: {url: 'http://b', timeout: 0s}", "backend.timeout: too small; accepted: more than zero"),
        ("backend: {url: 'http://b', timeout: -1s}", "backend.timeout: not a duration"),
        ("backend: {url: 'http://b', tls: {ca: x}}", "backend.tls: not used with an http:// URL"),
        ("backend: {url: 'https://b', tls: {cert: x}}", "backend.tls: cert without key or key without cert"),
        ("backend: {url: 'http://b', headers: {Host: x}}", "backend.headers.Host: a header that the sidecar sets"),
        ("backend: {url: 'http://b', headers: {x-mcp-account: x}}", "backend.headers.x-mcp-account: a header that"),
        ("backend: {url: 'http://b', headers: {MCP-Name: x}}", "backend.headers.MCP-Name: a header that"),
        ("backend: {url: 'http://b', headers: {X_Y: x}}", "backend.headers.X_Y: not a header name"),
        ("backend: {url: 'http://b', headers: {X: 1}}", "backend.headers.X: an integer is given; accepted: text"),
        ('backend: {url: "http://b", headers: {X: "a\\r\\nb"}}', "backend.headers.X: not a header value"),
        ("backend: {url: 'http://b', headers: {X: ''}}", "backend.headers.X: not a header value"),
        ("backend: {url: 'http://b', headers: {X: a, x: b}}", "backend.headers.x: given twice, in another case"),
        ("issuers: []", "issuers: too few entries; accepted: at least 1"),
        ("issuers: [{}]", "issuers[0].issuer: required but missing"),
        ("issuers: [{issuer: 'http://example.com'}]", "issuers[0].issuer: http:// to another machine"),
        ("issuers: [{issuer: 'https://a', jwks_uri: 'http://a/k'}]", "issuers[0].jwks_uri: http:// to another machine"),
        ("issuers: [{issuer: 'https://a', algorithms: [HS256]}]", "issuers[0].algorithms[0]: not an accepted value"),
        ("issuers: [{issuer: 'https://a', algorithms: [none]}]", "issuers[0].algorithms[0]: not an accepted value"),
        ("issuers: [{issuer: 'https://a', algorithms: []}]", "issuers[0].algorithms: too few entries"),
        ("issuers: [{issuer: 'https://a', leeway: 61s}]", "issuers[0].leeway: too large; accepted: at most 60s"),
        ("issuers: [{issuer: 'https://a', id: 'a:b'}]", "issuers[0].id: not of the accepted form"),
        ("issuers: [{issuer: 'https://a', typ: []}]", "issuers[0].typ: too few entries"),
        (
            f"issuers: [{{issuer: 'https://a', introspection: {{{ASKED}, url: 'http://a/i'}}}}]",
            "issuers[0].introspection.url: http:// to another machine",
        ),
        (
            f"issuers: [{{issuer: 'https://a', introspection: {{{ASKED}, url: 'https://u:hunter2@a/i'}}}}]",
            "issuers[0].introspection.url: a URL with a user or password in it",
        ),
        (
            f"issuers: [{{issuer: 'https://a', introspection: {{{ASKED}, url: 'https://a/i', cache: 61m}}}}]",
            "issuers[0].introspection.cache: too large; accepted: at most 1h",
        ),
        (
            f"issuers: [{{issuer: 'https://a', introspection: {{{ASKED}, url: 'https://a/i', cache: 30}}}}]",
            "issuers[0].introspection.cache: an integer is given; accepted: text such as 250ms",
        ),
        (
            "issuers: [{issuer: 'https://a', introspection: {url: 'https://a/i', client_id: a, client_secret: ''}}]",
            "issuers[0].introspection.client_secret: empty or too long; accepted: 1 to 4096",
        ),
        (
            "issuers: [{issuer: 'https://a', introspection: {url: 'https://a', client_id: a, client_secret: [7]}}]",
            "issuers[0].introspection.client_secret: a list is given; accepted: text",
        ),
        (
            "issuers: [{issuer: 'https://a', introspection: {url: 'https://a/i', client_id: a}}]",
            "issuers[0].introspection.client_secret: required but missing",
        ),
        (
            f"issuers: [{{issuer: 'https://a', id: a, introspection: &i {{{ASKED}, url: 'https://a/i'}}}}, "
            "{issuer: 'https://b', id: b, introspection: *i}]",
            "issuers[1].introspection: issuers[0].introspection is set too",
        ),
        ("issuers: [{issuer: 'https://a', id: a}, {issuer: 'https://b'}]", "issuers[1]: no id, although there are"),
        (
            "issuers: [{issuer: 'https://a', id: a}, {issuer: 'https://b', id: a}]",
            "issuers[1].id: the id of issuers[0]",
        ),
        ("issuers: [{issuer: 'https://a', id: a}, {issuer: 'https://a', id: b}]", "issuers[1].issuer: given twice"),
        ("store: {url: memory}", "store.url: not a store; accepted: embedded, redis://…, rediss://…, unix://…"),
        ("store: {url: 'redis+other://a:1'}", "store.url: not a store"),
        ("store: {url: 'redis://'}", "store.url: not a store"),
        ("store: {url: 'redis://a', directory: x}", "store.directory: used by the embedded store only"),
        ("policies: []", "policies: neither a folder nor a list of files"),
        ("policies: [a.yaml, 1]", "policies[1]: not a path; accepted: a path"),
        ("policies: ''", "policies: not a path"),
        ("limits: {body: 1024}", "limits.body: an integer is given; accepted: text such as 64KiB or 1MiB"),
        ("limits: {body: 1MB}", "limits.body: not a size; accepted: a size such as 64KiB or 1MiB"),
        ("limits: {body: 0KiB}", "limits.body: not a size"),
        ("limits: {json_depth: 1000}", "limits.json_depth: too large"),
        ("limits: {in_flight_per_account: 0}", "limits.in_flight_per_account: too small; accepted: at least 1"),
        ("limits: {items: 5001}", "limits.items: too large"),
        ("limits: {in_flight: 0}", "limits.in_flight: too small; accepted: at least 1"),
        ("workers: 0", "workers: no number of processes; accepted: auto, or an integer from 1 to 256"),
        ("workers: '2'", "workers: no number of processes; accepted: auto, or an integer from 1 to 256"),
        ("workers: true", "workers: no number of processes; accepted: auto, or an integer from 1 to 256"),
        ("log: {format: text}", "log.format: not an accepted value; accepted: json, console or auto"),
        ("log: {sample: 2}", "log.sample: too large; accepted: at most 1"),
        ("tracing: {}", "tracing.endpoint: required but missing"),
        ("tracing: {endpoint: 'http://user:secret@c/'}", "tracing.endpoint: a URL with a user or password in it"),
        (
            "tracing: {endpoint: 'http://c/v1/traces', tls: {ca: ca.pem}}",
            "tracing.tls: not used with an http:// URL; accepted: an https:// URL, or no tls",
        ),
        ("log: {level: INFO}", "log.level: not an accepted value; accepted: debug, info, warning or error"),
        (
            "polices: policies/",
            "polices: unknown key; accepted: resource, listen, admin, admin_hosts, hosts, origins, backend,",
        ),
    ],
)
def test_each_mistake_is_reported_at_its_place(line, problem):
    text = with_line(line)
    (found,) = problems(text)
    assert "hunter2" not in found
    file, number, _, rest = found.split(":", 3)
    assert (file, int(number)) == ("config.yaml", text.count("\n"))
    assert rest.strip().startswith(problem)


def test_a_secret_of_digits_is_a_text(tmp_path):
    (tmp_path / "config.yaml").write_text(
        MINIMAL.replace("}]", ", introspection: {url: 'https://a/i', client_id: '${ID}', client_secret: '${S}'}}]")
    )
    introspection = load_settings(tmp_path / "config.yaml", {"ID": "007", "S": "123456"}).issuers[0].introspection
    assert introspection is not None
    assert (introspection.client_id, introspection.client_secret.get_secret_value()) == ("007", "123456")
    assert introspection.cache == 30


def test_all_mistakes_are_reported_at_once():
    text = (
        "resorce: https://a\nbackend: {url: x, timeout: 5}\nissuers: [{issuer: 'https://a'}, {issuer: 'https://a'}]\n"
    )
    assert [line.split(": ")[1] for line in problems(text)] == [
        "resorce",
        "resource",
        "backend.url",
        "backend.timeout",
        "issuers[0]",
        "issuers[1]",
        "issuers[1].issuer",
    ]


def test_an_empty_config_says_what_it_needs():
    assert problems("") == [
        "config.yaml:1:1: backend: required but missing",
        "config.yaml:1:1: issuers: required but missing",
        "config.yaml:1:1: resource: required but missing",
    ]


@pytest.mark.parametrize("text", ["250ms", "5s", "2m", "1h", "90s", "0s"])
def test_durations_are_written_as_they_are_read(text):
    given = settings(with_line(f"shutdown_grace: {text}"))
    assert duration_text(given.shutdown_grace) == text


@pytest.mark.parametrize("text", ["1B", "1025B", "64KiB", "1MiB", "3GiB"])
def test_sizes_are_written_as_they_are_read(text):
    assert size_text(settings(with_line(f"limits: {{body: {text}, memory: 128GiB}}")).limits.body) == text


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("{body: 32MiB}", "limits.body: too large for limits.memory; accepted: at most 18724KiB, or more memory"),
        ("{response: 1GiB}", "limits.response: too large for limits.memory; accepted: at most 74898KiB, or more"),
        ("{memory: 64MiB}", "limits.memory: too small for limits.response, which is 64MiB; accepted: at least 448MiB"),
        ("{memory: 16MiB, response: 1MiB}", "limits.memory: too small for limits.body, which is 1MiB"),
    ],
)
def test_a_body_or_an_answer_that_could_not_fit_the_budget_is_an_error(limits, expected):
    [problem] = problems(with_line(f"limits: {limits}"))
    assert expected in problem
    assert problem.startswith("config.yaml:")


# --- workers -----------------------------------------------------------------------------------


def test_memory_and_requests_in_flight_are_divided_by_the_workers():
    given = settings(with_line("limits: {memory: 4GiB, in_flight: 10}") + "workers: 4\n").limits.shared_by(4)
    assert (given.memory, given.in_flight, given.in_flight_per_account) == (1 << 30, 2, 250)
    assert (given.body, given.response) == (1 << 20, 64 << 20)


def test_default_sizes_shrink_with_the_memory_of_a_worker():
    each = settings(with_line("workers: 32")).limits.shared_by(32)
    assert each.memory == 16 << 20
    assert (each.body * 28 <= each.memory, each.response * 7 <= each.memory) == (True, True)


def test_one_worker_has_the_limits_of_the_config():
    limits = settings(MINIMAL).limits
    assert limits.shared_by(1) is limits


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (
            "{memory: 512MiB}",
            "limits.memory: too small for limits.response, which is 64MiB in each of 4 workers; accepted: at least "
            "1792MiB, or a smaller response",
        ),
        ("{response: 64MiB}", "limits.response: too large for limits.memory in each of 4 workers; accepted: at most"),
    ],
)
def test_sizes_of_the_config_must_fit_the_memory_of_a_worker(limits, problem):
    (found,) = problems(with_line(f"limits: {limits}") + "workers: 4\n")
    assert found.split(": ", 1)[1].startswith(problem)


@pytest.mark.parametrize(("limits", "most"), [("{}", 256), ("{memory: 1GiB}", 2), ("{response: 512KiB}", 146)])
def test_auto_makes_no_more_workers_than_the_memory_of_the_config_permits(limits, most):
    given = settings(with_line(f"limits: {limits}") + "workers: auto\n")
    assert (given.workers, given.limits.most_workers) == ("auto", most)


# --- the schema for editors --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [MINIMAL, COMPLETE, MINIMAL + "workers: ${WORKERS}\nadmin: ${ADMIN:-127.0.0.1:9090}\n"]
)
def test_the_schema_accepts_what_is_accepted(text):
    validator = jsonschema_rs.Draft202012Validator(settings_schema())
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize("line", ["workers: '2'", "x: 1", "limits: {body: 1MB}", "log: {level: loud}", "listen: x",
                                  "issuers: [{issuer: 'https://a', introspection: {}}]",
                                  "issuers: [{issuer: 'https://a', introspection: {url: x, secret: y}}]"])  # fmt: skip
def test_the_schema_refuses_what_is_refused(line):
    validator = jsonschema_rs.Draft202012Validator(settings_schema())
    assert not validator.is_valid(yaml.safe_load(with_line(line)))


def test_the_schema_shows_defaults_as_they_are_written():
    backend = settings_schema()["$defs"]["BackendSettings"]["properties"]
    assert backend["timeout"]["default"] == "5m"
    assert "to its final result" in backend["timeout"]["description"]


def test_the_contract_s_own_example_is_accepted(tmp_path):
    (tmp_path / "config.yaml").write_text(
        MINIMAL
        + "listen: 0.0.0.0:8080\nadmin: 127.0.0.1:9090\nhosts: []\norigins: []\n"
        + "store:\n  url: embedded\n  directory: var/store\npolicies: policies/\n"
        + "limits: {body: 1MiB, header: 16KiB, json_depth: 64, items: 500, response: 64MiB, memory: 512MiB,\n"
        + "  in_flight: 1000}\n"
        + "workers: 1\nshutdown_grace: 30s\nlog: {format: json, level: info}\n"
    )
    assert load_settings(tmp_path / "config.yaml", {}).store.directory == tmp_path / "var/store"


def test_both_listeners_may_have_several_addresses():
    given = settings(
        with_line("listen: ['0.0.0.0:8080', {address: '[::]:8080', tls: {cert: c.pem, key: k.pem}}]")
        + "admin: [127.0.0.1:9090, '[::1]:9090']\nadmin_hosts: [Prometheus.internal]\n"
    )
    assert [str(each.address) for each in given.listen] == ["0.0.0.0:8080", "[::]:8080"]
    assert [each.tls is None for each in given.listen] == [True, False]
    assert [str(each) for each in given.admin] == ["127.0.0.1:9090", "[::1]:9090"]
    assert given.admin_hosts == ("prometheus.internal",)
