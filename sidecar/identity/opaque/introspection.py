"""One introspection request to an issuer (RFC 7662): a small answer, or the reason for the failure.

Redirects are not followed, nothing is decompressed, and the size is limited, as for key sets (`discovery`): the
answer decides which tokens are accepted.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import aiohttp

from sidecar.config.settings.settings import Introspection
from sidecar.identity import issuer_json
from sidecar.identity.egress.issuer_client import EgressError, IssuerClient
from sidecar.identity.invalid_token import shown
from sidecar.identity.opaque import introspected_claims

MAX_RESPONSE: Final = 64 * 1024
"""Bytes of one answer."""
MAX_PAUSE: Final = 60
"""The longest `Retry-After` that is respected, in seconds."""


class IntrospectionError(Exception):
    """Failure to get an answer about the token.

    Args:
        problem: for the operator; contains nothing of the token, the secret or the answer.
        retry_after: seconds until the next request may be sent.
        rate_limited: whether the endpoint works and only limits the rate of requests.
    """

    def __init__(self, problem: str, *, retry_after: int = 1, rate_limited: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after = retry_after
        self.rate_limited = rate_limited


class Introspector:
    """Client of one introspection endpoint.

    Args:
        client: sends the requests.
        settings: the endpoint and its credentials.
    """

    def __init__(self, client: IssuerClient, settings: Introspection) -> None:
        self._client = client
        self._url = settings.url
        # RFC 6749 section 2.3.1: both are form-urlencoded first, or a colon or non-ASCII letter is ambiguous.
        credentials = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret.get_secret_value())}"
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }

    async def ask(self, token: str) -> Mapping[str, Any]:
        """Return the issuer's answer about a token, parsed but not judged; the caller limits the time.

        Raises:
            IntrospectionError: there is no usable answer.
        """
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        try:
            try:
                return await self._post(form)
            except aiohttp.ServerDisconnectedError:
                # The server had closed an idle connection: a request changes nothing there, so send it again.
                return await self._post(form)
        except (aiohttp.ClientError, EgressError, OSError, ValueError) as error:
            raise IntrospectionError(self._client.describe(error, self._url)) from None

    async def _post(self, form: bytes) -> Mapping[str, Any]:
        options = await self._client.options(self._url, self._headers)
        async with self._client.session.post(self._url, data=form, **options) as response:
            _check_head(response)
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_RESPONSE:
                    raise IntrospectionError(f"the answer is larger than {MAX_RESPONSE} bytes")
        try:
            return introspected_claims.read(bytes(body))
        except issuer_json.IssuerJsonError as error:
            raise IntrospectionError(f"the answer {error}") from None


def _check_head(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in (401, 403):
        raise IntrospectionError(f"the endpoint rejects the configured client_id and client_secret (status {status})")
    if status in (429, 503):
        rate_limited = status == 429
        raise IntrospectionError(
            f"answered with status {status}", retry_after=_pause(response), rate_limited=rate_limited
        )
    if status != 200:
        raise IntrospectionError(f"answered with status {status}")
    if response.content_type != "application/json":
        raise IntrospectionError(f"the answer is {shown(response.content_type)}, not application/json")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise IntrospectionError("the answer came compressed, although that was declined")


def _pause(response: aiohttp.ClientResponse) -> int:
    """Return whole seconds (RFC 9110 section 10.2.3); a date is ignored."""
    text = response.headers.get("Retry-After", "")
    return min(max(int(text), 1), MAX_PAUSE) if text.isascii() and text.isdigit() and len(text) < 10 else 1
