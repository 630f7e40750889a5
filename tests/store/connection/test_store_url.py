"""Store URLs: what they mean, and that no message repeats what stands before the host."""

from __future__ import annotations

import pytest

from sidecar.store.connection.store_url import StoreLocation, parse_url


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("unix:///run/v.sock?db=2", StoreLocation(path="/run/v.sock", db=2)),
        ("redis://h", StoreLocation(addresses=(("h", 6379),))),
        ("redis://u:p%40@[::1]:7000/4", StoreLocation(addresses=(("::1", 7000),), db=4, username="u", password="p@")),
        (
            "redis+sentinel://:pw@a,b:1/mymaster/1",
            StoreLocation(addresses=(("a", 26379), ("b", 1)), service="mymaster", db=1, password="pw"),
        ),
        (
            "redis+sentinel://u:pw@a/m?sentinel_username=watch&sentinel_password=p%26%2B&db=2",
            StoreLocation(
                addresses=(("a", 26379),),
                service="m",
                db=2,
                username="u",
                password="pw",
                sentinel_username="watch",
                sentinel_password="p&+",
            ),
        ),
        (
            "redis+cluster://u:pw@a,[::1]:7000/",
            StoreLocation(addresses=(("a", 6379), ("::1", 7000)), cluster=True, username="u", password="pw"),
        ),
        ("redis+cluster://a/0?tls=false", StoreLocation(addresses=(("a", 6379),), cluster=True)),
    ],
)
def test_urls(url: str, endpoint: StoreLocation):
    assert parse_url(url) == endpoint


@pytest.mark.parametrize("url", ["rediss://h", "redis+sentinel://h/m?tls=true", "redis+cluster://h?tls=true"])
async def test_tls_verifies_by_default(url: str):
    tls = await parse_url(url).tls()
    assert tls is not None
    assert tls.check_hostname


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@h",
        "redis+cluster://:s3cret@h/1",
        "redis+cluster://:s3cret@h/x",
        "redis+cluster://:s3cret@h?db=1",
        "redis+cluster://:s3cret@h,",
        "redis+cluster://:s3cret@h?tls=yes",
        "redis+cluster://:s3cret@h?ca=/ca.pem",
        "redis+cluster://:s3cret@h?sentinel_password=s3cret",
        "redis+sentinel://:s3cret@h/m?tls=false&ca=/ca.pem",
        "redis+sentinel://:s3cret@h/m?sentinel_password=s3cret&sentinel_password=s3cret",
        "redis://:s3cret@h?tls=true",
        "redis://:s3cret@h:0",
        "redis://s3cret@h",
        "redis+sentinel://:s3cret@h/m?sentinel_username=s3cret",
        "redis://:s3cret@",
        "redis://:s3cret@h:port",
        "redis://:s3cret@h/x",
        "redis://:s3cret@a,b",
        "redis://:s3cret@h?socket_timeout=5",
        "redis+sentinel://:s3cret@a",
        "unix://:s3cret@host/p",
        "unix://",
        "redis://:s3cret@h#x",
        "redis://:s3cret@a..b",
        "redis+cluster://:s3cret@h,[::1",
    ],
)
def test_wrong_urls_are_refused_without_their_password(url: str):
    with pytest.raises(ValueError, match=r"URL|host") as caught:
        parse_url(url)
    assert "s3cret" not in str(caught.value)


def test_a_password_is_not_printed():
    assert "s3cret" not in repr(parse_url("redis+sentinel://:s3cret@h/m?sentinel_password=s3cret"))


def test_sentinels_and_nodes_are_asked_with_their_own_credentials():
    endpoint = parse_url("redis+sentinel://u:pw@a/m/3?sentinel_username=watch&sentinel_password=other")
    asked = endpoint.sentinel(("a", 1))
    assert asked == StoreLocation(addresses=(("a", 1),), username="watch", password="other")
    node = parse_url("redis+cluster://u:pw@a,b").node(("c", 2))
    assert node == StoreLocation(addresses=(("c", 2),), cluster=True, username="u", password="pw")
