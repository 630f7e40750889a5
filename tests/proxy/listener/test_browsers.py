"""Host and Origin byte by byte, and what a browser's page may send and read (Fetch, the CORS protocol)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable

import pytest

from tests.proxy.support import Launch
from tests.support import backend as scripted
from tests.support.backend import Backend
from tests.support.rig import ACCEPT, LEGACY, MODERN, Json, Rig

PAGE = "https://app.example"
CALL: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_taxonomy", "arguments": {}}}
WELL_KNOWN = "/.well-known/oauth-protected-resource"

Fields = list[tuple[str, str]]


class Raw:
    """An answer as it was on the wire."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def words(self, name: str) -> set[str]:
        """A list in a header, in lower case."""
        (value,) = self.all(name)
        return {word.strip().lower() for word in value.split(",")}

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


async def ask(rig: Rig, first: str, fields: Iterable[tuple[str, str]], body: bytes = b"") -> Raw:
    lines = [first, *(f"{name}: {value}" for name, value in fields), "Connection: close", "", ""]
    return Raw(await rig.raw("\r\n".join(lines).encode("latin-1") + body))


def sent(
    rig: Rig, *more: tuple[str, str], host: Iterable[str] = ("127.0.0.1",), without: str = "", message: Json = CALL
) -> tuple[Fields, bytes]:
    """Headers and body of a good call, with these Hosts."""
    body = json.dumps(message).encode()
    usual = [
        *(("Host", each) for each in host),
        ("Authorization", f"Bearer {rig.issuer.mint()}"),
        ("Accept", ACCEPT),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", LEGACY),
        ("Content-Length", str(len(body))),
    ]
    given = {name.lower() for name, _ in more} | {without.lower()}
    return [*(each for each in usual if each[0].lower() not in given), *more], body


async def post(rig: Rig, *more: tuple[str, str], target: str = "/mcp", version: str = "1.1", **options: object) -> Raw:
    fields, body = sent(rig, *more, **options)  # type: ignore[arg-type]
    return await ask(rig, f"POST {target} HTTP/{version}", fields, body)


# --- Host ----------------------------------------------------------------------------------------

HOSTS = ["mcp.example.com", "[::1]", "LB.internal:8443", "xn--bcher-kva.example"]
SERVED = [
    *("127.0.0.1", "127.0.0.1:1", "127.0.0.1:65535", "mcp.example.com", "MCP.EXAMPLE.COM", "mcp.example.com:443"),
    *("[::1]", "[::1]:8080", "lb.internal:8443", "LB.Internal:8443", "XN--BCHER-KVA.example"),
]
STRANGE = [
    *("evil.example", "evil.example:80", "localhost", "127.0.0.2", "127.1", "2130706433", "0x7f.0.0.1", "[::2]"),
    *("[::ffff:127.0.0.1]", "::1", "[::1", "[::1]x", "[::1].evil.example", "[::1]:", "[::1]:x", "[[::1]]"),
    *("mcp.example.com.", "mcp.example.com.:443", ".mcp.example.com", "mcp.example.com.evil.example"),
    *("xmcp.example.com", "mcp.example.com:", "mcp.example.com:x", "mcp.example.com:-1", "mcp.example.com:443:443"),
    *("mcp.example.com:123456", "mcp.example.com:443@evil.example", "evil.example@mcp.example.com", "@mcp.example.com"),
    *("mcp.example.com/", "mcp.example.com/mcp", "https://mcp.example.com", "mcp.example.com#", "mcp.example.com?x"),
    *("mcp.example.com, evil.example", "mcp.example.com evil.example", "mcp.example.com\tx", "mcp.example.com\\"),
    *("lb.internal", "lb.internal:8444", "b\xfccher.example", "mcp.example.com%00", "*", "_", "", "null"),
]


@pytest.fixture
async def hosted(launch: Launch) -> Rig:
    return await launch(hosts=HOSTS)


@pytest.mark.parametrize("host", SERVED)
async def test_hosts_that_are_served(hosted: Rig, host: str):
    assert (await post(hosted, host=[host])).status == 200
    assert hosted.backend.last.header("host") == f"127.0.0.1:{hosted.backend.port}"
    assert (await ask(hosted, f"GET {WELL_KNOWN} HTTP/1.1", [("Host", host)])).status == 200


@pytest.mark.parametrize("host", STRANGE)
async def test_hosts_that_are_not(hosted: Rig, host: str):
    answers = [
        await post(hosted, host=[host]),
        await post(hosted, ("Origin", f"https://{host}"), host=[host]),
        await ask(hosted, f"GET {WELL_KNOWN} HTTP/1.1", [("Host", host)]),
        await ask(hosted, "OPTIONS /mcp HTTP/1.1", [("Host", host), ("Access-Control-Request-Method", "POST")]),
    ]
    for answer in answers:
        assert answer.status in (400, 403)
        assert answer.code in ("host_refused", "request_malformed")
        assert not answer.all("access-control-allow-origin")
        assert not answer.all("www-authenticate")
        assert len(host) < 5 or host.encode("latin-1") not in answer.body
    assert not hosted.backend.received


@pytest.mark.parametrize(
    "host",
    [[], ["127.0.0.1", "127.0.0.1"], ["127.0.0.1", "evil.example"], ["evil.example", "127.0.0.1"]],
    ids=["none", "twice", "then another", "after another"],
)
async def test_there_is_exactly_one_host(hosted: Rig, host: list[str]):
    for version in ("1.1", "1.0"):
        answer = await post(hosted, host=host, version=version)
        assert (answer.status, answer.code) == (400, "request_malformed")
    assert not hosted.backend.received


@pytest.mark.parametrize("authority", ["127.0.0.1", "mcp.example.com:443", "evil.example", "evil@127.0.0.1", ""])
@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
async def test_the_target_is_a_path_and_never_says_a_host(hosted: Rig, scheme: str, authority: str):
    for target in (f"{scheme}://{authority}/mcp", f"{scheme}://{authority}{WELL_KNOWN}"):
        for host in ("127.0.0.1", "evil.example"):
            answer = await post(hosted, target=target, host=[host])
            assert answer.status in (400, 403, 404)
            assert answer.code in ("path_unknown", "host_refused", "request_malformed")
    assert not hosted.backend.received


async def test_other_headers_say_no_host(hosted: Rig):
    named = [("X-Forwarded-Host", "mcp.example.com"), ("Forwarded", "host=mcp.example.com"), ("X-Host", "127.0.0.1")]
    assert (await post(hosted, *named, host=["evil.example"])).status == 403
    named = [(name, value.replace("mcp.example.com", "evil.example")) for name, value in named]
    assert (await post(hosted, *named)).status == 200


# --- Origin --------------------------------------------------------------------------------------

FOREIGN = [
    *("https://evil.example", "null", "NULL", "", "https://app.example.evil.example", "https://xapp.example"),
    *("http://app.example", "https://app.example:443", "https://app.example:444", "https://app.example/"),
    *("https://APP.example", "HTTPS://app.example", "app.example", "//app.example", "https://app.example.", "*"),
    *("https://app.example, https://app.example", "https://app.example https://evil.example", "file://"),
    *("https://app.example%00", "https://app.example\\", "https://\xe4pp.example", "https://evil@app.example"),
]


@pytest.fixture
async def browsed(launch: Launch) -> Rig:
    return await launch(origins=[PAGE, "http://localhost:5173"], scripted=Backend(sessions=True))


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_origin_is_refused_before_anything_else_is_said(browsed: Rig, origin: str):
    said = ("Origin", origin)
    preflight = [("Host", "127.0.0.1"), said, ("Access-Control-Request-Method", "POST")]
    answers = [
        await post(browsed, said),
        await post(browsed, said, without="Authorization"),
        await post(browsed, said, target="/nowhere"),
        await post(browsed, said, ("Content-Type", "text/plain"), ("Accept", "text/html"), ("X-Large", "x" * 15_000)),
        await ask(browsed, "OPTIONS /mcp HTTP/1.1", preflight),
        await ask(browsed, "GET /mcp HTTP/1.1", [("Host", "127.0.0.1"), said]),
        await ask(browsed, "PUT /mcp HTTP/1.1", [("Host", "127.0.0.1"), said]),
    ]
    for answer in answers:
        assert (answer.status, answer.code) == (403, "origin_refused")
        assert not [name for name, _ in answer.fields if name.startswith("access-control-")]
        assert not answer.all("www-authenticate")
        assert not answer.all("allow")
        assert answer.all("vary") == ["Origin"]
    assert not browsed.backend.received


async def test_an_origin_given_twice_is_refused(browsed: Rig):
    for second in (PAGE, "https://evil.example"):
        answer = await post(browsed, ("Origin", PAGE), ("Origin", second))
        assert (answer.status, answer.code) == (403, "origin_refused")
    assert not browsed.backend.received


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:5173"])
async def test_listed_origins_and_the_resource_s_own_are_allowed(browsed: Rig, origin: str):
    for each in (origin, browsed.url.removesuffix("/mcp")):
        answer = await post(browsed, ("Origin", each))
        assert answer.status == 200
        assert answer.all("access-control-allow-origin") == [each]


async def test_other_clients_get_no_cors_headers_and_caches_get_vary(browsed: Rig):
    for answer in (await post(browsed), await post(browsed, without="Authorization")):
        assert not [name for name, _ in answer.fields if name.startswith("access-control-")]
        assert answer.all("vary") == ["Origin"]


# --- what a page can read ------------------------------------------------------------------------

Ask = Callable[[Rig], Awaitable[Raw]]
ORIGIN = ("Origin", PAGE)


def said(method: str, **params: object) -> Json:
    message: Json = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    if method.startswith("notifications/"):
        del message["id"]
    return message


async def stream(rig: Rig) -> Raw:
    rig.backend.once(scripted.sse())
    return await post(rig, ORIGIN)


def backend(*behaviours: scripted.Behaviour) -> Ask:
    async def call(rig: Rig) -> Raw:
        rig.backend.once(*behaviours)
        return await post(rig, ORIGIN)

    return call


async def listen(rig: Rig) -> Raw:
    """A GET stream that the backend ends."""

    async def end(turn: scripted.Turn) -> None:
        await turn.open_stream()
        await turn.end_stream()

    rig.backend.once(end)
    fields = [(name, value) for name, value in sent(rig, ORIGIN)[0] if not name.startswith("Content-")]
    return await ask(rig, "GET /mcp HTTP/1.1", fields)


async def unavailable_keys(rig: Rig) -> Raw:
    rig.issuer.fault = 503
    unknown = rig.issuer.mint(header={"kid": "never-seen"})
    return await post(rig, ORIGIN, ("Authorization", f"Bearer {unknown}"))


READABLE: dict[str, tuple[int, Ask]] = {
    "result": (200, lambda rig: post(rig, ORIGIN)),
    "stream": (200, stream),
    "listening": (200, listen),
    "initialize": (200, lambda rig: post(rig, ORIGIN, message=said("initialize", protocolVersion=LEGACY))),
    "notification": (202, lambda rig: post(rig, ORIGIN, message=said("notifications/initialized"))),
    "no message": (400, lambda rig: post(rig, ORIGIN, message={"jsonrpc": "2.0"})),
    "other version": (400, lambda rig: post(rig, ORIGIN, ("MCP-Protocol-Version", "1999-01-01"))),
    "header mismatch": (400, lambda rig: post(rig, ORIGIN, ("Mcp-Method", "ping"))),
    "no token": (401, lambda rig: post(rig, ORIGIN, without="Authorization")),
    "bad token": (401, lambda rig: post(rig, ORIGIN, ("Authorization", "Bearer x"))),
    "scopes": (
        403,
        lambda rig: post(rig, ORIGIN, ("Authorization", f"Bearer {rig.issuer.mint(scope='usage:read')}")),
    ),
    "other path": (404, lambda rig: post(rig, ORIGIN, target="/nowhere")),
    "other session": (404, lambda rig: post(rig, ORIGIN, ("Mcp-Session-Id", "x"))),
    "other method": (405, lambda rig: ask(rig, "PUT /mcp HTTP/1.1", [("Host", "127.0.0.1"), ORIGIN])),
    "accept": (406, lambda rig: post(rig, ORIGIN, ("Accept", "text/html"))),
    "too large": (413, lambda rig: post(rig, ORIGIN, message={**CALL, "x": "x" * 5000})),
    "media type": (415, lambda rig: post(rig, ORIGIN, ("Content-Type", "text/plain"))),
    "no backend": (502, backend(scripted.reset())),
    "backend's own refusal": (400, backend(scripted.http(400, b'{"jsonrpc":"2.0"}'))),
    "keys": (503, unavailable_keys),
}


@pytest.mark.parametrize(("status", "asked"), READABLE.values(), ids=READABLE.keys())
async def test_a_page_can_read_every_answer(launch: Launch, status: int, asked: Ask):
    rig = await launch(origins=[PAGE], limits={"body": "4KiB"}, scripted=Backend(sessions=True))
    answer = await asked(rig)
    assert answer.status == status
    assert answer.all("access-control-allow-origin") == [PAGE]
    assert answer.all("vary") == ["Origin"]
    assert not answer.all("access-control-allow-credentials")
    # Besides Content-Type, which every page can read, these are what official clients look at.
    exposed = {"mcp-session-id", "mcp-protocol-version", "www-authenticate", "retry-after", "x-request-id"}
    assert answer.words("access-control-expose-headers") == exposed


async def test_a_backend_does_not_open_itself_to_other_pages(browsed: Rig):
    open_ = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Credentials", "true"), ("Vary", "Cookie")]
    browsed.backend.once(scripted.http(400, b"{}", *open_), scripted.http(400, b"{}", *open_))
    answer = await post(browsed, ORIGIN)
    assert answer.all("access-control-allow-origin") == [PAGE]
    assert not answer.all("access-control-allow-credentials")
    assert not (await post(browsed)).all("access-control-allow-origin")


# --- what a page can send ------------------------------------------------------------------------


async def preflight(rig: Rig, *more: tuple[str, str], target: str = "/mcp", method: str = "POST") -> Raw:
    fields = [("Host", "127.0.0.1"), ORIGIN, ("Access-Control-Request-Method", method), *more]
    return await ask(rig, f"OPTIONS {target} HTTP/1.1", fields)


LEGACY_CLIENT = "authorization,content-type,last-event-id,mcp-protocol-version,mcp-session-id"
MODERN_CLIENT = "authorization,content-type,mcp-method,mcp-name,mcp-param-region,mcp-protocol-version"
TRACED = "authorization,baggage,content-type,traceparent,tracestate"


@pytest.mark.parametrize("headers", [LEGACY_CLIENT, MODERN_CLIENT, TRACED], ids=["legacy", "modern", "traced"])
async def test_the_headers_of_official_clients_pass_a_preflight_without_a_token(browsed: Rig, headers: str):
    for method in ("POST", "GET", "DELETE"):
        answer = await preflight(browsed, ("Access-Control-Request-Headers", headers), method=method)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.all("access-control-allow-origin") == [PAGE]
        assert method.lower() in answer.words("access-control-allow-methods")
        assert set(headers.split(",")) <= answer.words("access-control-allow-headers")
        assert answer.all("access-control-max-age") == ["600"]
        assert answer.all("vary") == ["Origin"]
        assert not answer.all("www-authenticate")
    assert not browsed.backend.received


async def test_a_call_with_all_of_them_is_served(browsed: Rig):
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    message = {**CALL, "params": {**CALL["params"], "_meta": meta}}
    traced = [("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"), ("tracestate", "x=y"), ("baggage", "k=v")]
    modern = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "tools/call"), ("Mcp-Name", "list_taxonomy")]
    answer = await post(browsed, ORIGIN, *modern, *traced, ("Mcp-Param-Region", "eu"), message=message)
    assert answer.status == 200
    assert browsed.backend.last.header("mcp-param-region") == "eu"


ODD = {
    "Mcp-Param-Region_Code.x": True,
    "mcp-param-!#$%&'*+.^_`|~-": True,
    "MCP-PARAM-A": True,
    "mcp-param-": False,
    "mcp-param-a b": False,
    "mcp-param-\xfc": False,
    "mcp-param-a:b": False,
    "x-mcp-account": False,
    "x-api-key": False,
    "cookie": False,
    "*": False,
    "": False,
}


@pytest.mark.parametrize(("name", "allowed"), ODD.items(), ids=ascii)
async def test_headers_made_from_schemas_are_allowed_by_name_and_no_others(browsed: Rig, name: str, allowed: bool):
    answer = await preflight(browsed, ("Access-Control-Request-Headers", f"authorization, {name},mcp-name"))
    assert answer.status == 204
    assert (name.lower() in answer.words("access-control-allow-headers")) is allowed
    assert "*" not in answer.words("access-control-allow-headers")


async def test_a_page_of_a_public_network_may_call_if_its_origin_may(browsed: Rig):
    private = ("Access-Control-Request-Private-Network", "true")
    assert (await preflight(browsed, private)).all("access-control-allow-private-network") == ["true"]
    assert not (await preflight(browsed)).all("access-control-allow-private-network")
    fields = [
        ("Host", "127.0.0.1"),
        ("Origin", "https://evil.example"),
        private,
        ("Access-Control-Request-Method", "POST"),
    ]
    assert (await ask(browsed, "OPTIONS /mcp HTTP/1.1", fields)).status == 403
    document = await ask(browsed, f"OPTIONS {WELL_KNOWN} HTTP/1.1", fields)
    assert not document.all("access-control-allow-private-network")


async def test_a_token_makes_no_difference_to_a_preflight(browsed: Rig):
    assert (await preflight(browsed, ("Authorization", "Bearer nonsense"))).status == 204


async def test_an_options_that_is_no_preflight_is_a_method_like_others(browsed: Rig):
    for fields in ([ORIGIN], [("Access-Control-Request-Method", "POST")], []):
        answer = await ask(browsed, "OPTIONS /mcp HTTP/1.1", [("Host", "127.0.0.1"), *fields])
        assert (answer.status, answer.all("allow")) == (405, ["POST, GET, DELETE"])
    assert (await preflight(browsed, target="/nowhere")).status == 404


# --- the documents -------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [PAGE, "https://anybody.example", "null"])
@pytest.mark.parametrize("path", [WELL_KNOWN, f"{WELL_KNOWN}/mcp"])
async def test_every_page_can_read_the_documents(browsed: Rig, path: str, origin: str):
    fields = [("Host", "127.0.0.1"), ("Origin", origin)]
    asked = [("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization,x-any")]
    checked = await ask(browsed, f"OPTIONS {path} HTTP/1.1", [*fields, *asked])
    read = await ask(browsed, f"GET {path} HTTP/1.1", [*fields, ("MCP-Protocol-Version", MODERN), ("X-Any", "x")])
    wrong = await ask(browsed, f"POST {path} HTTP/1.1", fields)
    assert [answer.status for answer in (checked, read, wrong)] == [204, 200, 405]
    for answer in (checked, read, wrong):
        assert answer.all("access-control-allow-origin") == ["*"]
        assert not answer.all("access-control-allow-credentials")
    assert checked.words("access-control-allow-headers") == {"*", "authorization"}
    assert json.loads(read.body)["resource"] == browsed.url
    assert not browsed.backend.received
