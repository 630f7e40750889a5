"""Proxies of the environment, as urllib and curl read it."""

from __future__ import annotations

import pytest

from sidecar.identity.egress.proxies import Proxies, Proxy

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environ", "url", "chosen"),
    [
        ({}, "https://i.example", None),
        ({"https_proxy": PROXY}, "https://i.example/x", PROXY),
        ({"HTTPS_PROXY": PROXY}, "https://i.example/x", PROXY),
        ({"https_proxy": PROXY}, "http://i.example", None),
        ({"http_proxy": PROXY}, "http://i.example", PROXY),
        ({"HTTP_PROXY": PROXY}, "http://i.example", PROXY),
        ({"HTTP_PROXY": PROXY}, "https://i.example", None),
        ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, "https://i.example", "http://lower:1"),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, "https://i.example", None),
        ({"https_proxy": "proxy.example:3128"}, "https://i.example", PROXY),
        ({"https_proxy": f"{PROXY}/"}, "https://i.example", PROXY),
        ({"https_proxy": f" {PROXY} "}, "https://i.example", PROXY),
        ({"https_proxy": "http://[2001:db8::1]:3128"}, "https://i.example", "http://[2001:db8::1]:3128"),
        # In a CGI program, HTTP_PROXY is a header of the request.
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://i.example", None),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http://i.example", PROXY),
        # A proxy's loopback is another machine.
        ({"https_proxy": PROXY}, "https://127.0.0.1:9", None),
        ({"https_proxy": PROXY}, "https://localhost:9", None),
        ({"http_proxy": PROXY}, "http://[::1]:9", None),
    ],
)
def test_a_proxy_is_chosen_by_scheme(environ: dict[str, str], url: str, chosen: str | None):
    proxy = Proxies.of(environ).choose(url)
    assert (None if proxy is None else proxy.url) == chosen


@pytest.mark.parametrize(
    ("names", "host", "direct"),
    [
        ("*", "i.example", True),
        ("i.example", "i.example", True),
        ("I.Example", "i.example", True),
        ("i.example", "I.EXAMPLE", True),
        ("i.example", "i.example.", True),
        ("example", "i.example", True),
        (".example", "i.example", True),
        ("*.example", "i.example", True),
        ("a.example, i.example", "i.example", True),
        ("a.example i.example", "i.example", True),
        ("i.example:443", "i.example:443", True),
        ("i.example:443", "i.example:8443", False),
        ("i.example", "i.example:8443", True),
        ("xample", "i.example", False),
        ("i.example", "not-i.example", False),
        ("a.example", "i.example", False),
        ("", "i.example", False),
        (",,. ,", "i.example", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "i.example", False),
        ("10.0.0.0/99", "10.0.0.1", False),
        ("2001:db8::/32", "[2001:db8::7]", True),
        ("2001:db8::7", "[2001:db8::7]", True),
        ("[2001:db8::7]", "[2001:db8::7]", True),
        ("[2001:db8::7]:443", "[2001:db8::7]:443", True),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_hosts_without_a_proxy(variable: str, names: str, host: str, direct: bool):
    proxies = Proxies.of({"https_proxy": PROXY, variable: names})
    assert (proxies.choose(f"https://{host}/jwks") is None) is direct


def test_credentials_are_apart_from_the_url_and_shown_nowhere():
    proxies = Proxies.of({"https_proxy": "http://us%40er:pa%3Ass@proxy.example:3128"})
    proxy = proxies.choose("https://i.example")
    assert proxy == Proxy(PROXY, "us@er", "pa:ss")
    assert "pa:ss" not in repr(proxies)


@pytest.mark.parametrize(
    "written",
    [
        *("socks5://proxy:1080", "https://proxy:3128", "http://", "http://a b", "http://u:SECRET@:1", "//x"),
        "http://user:12/SECRET@proxy.example:3128",  # not the host `user`, in messages with half of the password
    ],
)
def test_a_proxy_that_cannot_be_used_is_not_passed_by(written: str):
    proxy = Proxies.of({"https_proxy": written}).choose("https://i.example")
    assert proxy is not None
    assert proxy.problem == "the proxy in https_proxy is not an http:// URL"


def test_thousands_of_names_are_read_in_linear_time():
    proxies = Proxies.of({"https_proxy": PROXY, "no_proxy": "a.example," * 100_000})
    assert len(proxies.direct) == 1000
