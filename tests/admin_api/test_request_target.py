"""Request targets: names are decoded once, by segment, and a path has one spelling."""

from __future__ import annotations

import contextlib
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.admin_api.api_problems import ApiProblem
from sidecar.admin_api.request_target import MAX_PARAMETERS, MAX_TARGET, split_target

LETTERS = st.characters(codec="utf-8")
NAMES = st.text(LETTERS, min_size=1, max_size=40).filter(lambda text: text not in (".", ".."))


@given(
    st.lists(NAMES, min_size=1, max_size=4),
    st.dictionaries(NAMES, st.text(LETTERS, max_size=20), max_size=5),
)
def test_encoded_names_come_back(names: list[str], query: dict[str, str]):
    target = "/" + "/".join(quote(name, safe="") for name in names)
    found, parameters = split_target(target + ("?" + urlencode(query) if query else ""))
    assert (found, parameters) == (names, query)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes):
    segments = ["read"]
    with contextlib.suppress(ApiProblem):
        segments, _ = split_target("/" + data.decode("latin-1"))
    assert segments
    assert all(segments)


@pytest.mark.parametrize(
    ("target", "segments"),
    [
        ("/v1/accounts/a%2Fb", ["v1", "accounts", "a/b"]),
        ("/v1/accounts/a%252Fb", ["v1", "accounts", "a%2Fb"]),
        ("/v1/accounts/%2e%2e", ["v1", "accounts", ".."]),
        ("/v1/accounts/%C3%A9+x", ["v1", "accounts", "é+x"]),
    ],
)
def test_a_segment_is_decoded_once(target: str, segments: list[str]):
    assert split_target(target)[0] == segments


@pytest.mark.parametrize(
    "target",
    [
        *("", "*", "v1", "http://here/v1", "//v1", "/v1//accounts", "/v1/", "/v1/./x", "/v1/../x", "/v1#x", "/v1/é"),
        "/" + "a" * MAX_TARGET,
    ],
)
def test_another_spelling_is_no_path(target: str):
    with pytest.raises(ApiProblem) as refused:
        split_target(target)
    assert refused.value.code.id == "path_unknown"


@pytest.mark.parametrize("target", ["/a%", "/a%2", "/a%zz", "/a%ff", "/a?x=%ff", "/a%c0%af", "/a%ed%a0%80"])
def test_broken_encodings_are_refused(target: str):
    with pytest.raises(ApiProblem) as refused:
        split_target(target)
    assert refused.value.code.id == "request_malformed"


@pytest.mark.parametrize(
    "query", ["a=1&a=2", "a=1&%61=2", "&".join(f"p{number}=1" for number in range(MAX_PARAMETERS + 1))]
)
def test_a_parameter_is_given_once(query: str):
    with pytest.raises(ApiProblem) as refused:
        split_target(f"/a?{query}")
    assert refused.value.code.id == "parameter_invalid"
