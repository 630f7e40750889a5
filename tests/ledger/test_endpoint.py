"""Store URLs: what they mean, and that no message repeats what stands before the host."""

from __future__ import annotations

import pytest

from sidecar.ledger.endpoint import Endpoint, parse_url


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("unix:///run/v.sock?db=2", Endpoint(path="/run/v.sock", db=2)),
        ("redis://h", Endpoint(addresses=(("h", 6379),))),
        ("redis://u:p%40@[::1]:7000/4", Endpoint(addresses=(("::1", 7000),), db=4, username="u", password="p@")),
        (
            "redis+sentinel://:pw@a,b:1/mymaster/1",
            Endpoint(addresses=(("a", 26379), ("b", 1)), service="mymaster", db=1, password="pw"),
        ),
    ],
)
def test_urls(url: str, endpoint: Endpoint):
    assert parse_url(url) == endpoint


def test_tls_verifies_by_default():
    tls = parse_url("rediss://h").tls
    assert tls is not None
    assert tls.check_hostname


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@h",
        "redis+cluster://:s3cret@h",
        "redis://:s3cret@",
        "redis://:s3cret@h:port",
        "redis://:s3cret@h/x",
        "redis://:s3cret@a,b",
        "redis://:s3cret@h?socket_timeout=5",
        "redis+sentinel://:s3cret@a",
        "unix://:s3cret@host/p",
        "unix://",
        "redis://:s3cret@h#x",
    ],
)
def test_wrong_urls_are_refused_without_their_password(url: str):
    with pytest.raises(ValueError, match=r"URL|host") as caught:
        parse_url(url)
    assert "s3cret" not in str(caught.value)


def test_a_password_is_not_printed():
    assert "s3cret" not in repr(parse_url("redis://:s3cret@h"))
