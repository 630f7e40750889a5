"""One question to an issuer: what is this token (RFC 7662)? One small answer, or a short word why not.

Redirects are not followed, nothing is unpacked, and size is bounded, as for key sets (`discovery`): what
comes back decides who may call.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import aiohttp

from sidecar.config.settings import Introspection
from sidecar.identity import claims_introspected

MAX_RESPONSE: Final = 64 * 1024
"""Bytes of one answer."""
MAX_PAUSE: Final = 60
"""Seconds of a `Retry-After` that are believed."""


class IntrospectionError(Exception):
    """Nothing was learnt about the token.

    Args:
        problem: for the operator; holds nothing of the token, the secret or the answer.
        retry_after: seconds after which to ask again.
        crowded: whether the endpoint works and only wants fewer requests.
    """

    def __init__(self, problem: str, *, retry_after: int = 1, crowded: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after = retry_after
        self.crowded = crowded


class Introspector:
    """Who asks one endpoint.

    Args:
        client: from `discovery.session`.
        settings: the endpoint, and as whom it is asked.
    """

    def __init__(self, client: aiohttp.ClientSession, settings: Introspection) -> None:
        self._client = client
        self._url = settings.url
        # RFC 6749 section 2.3.1: both are form-urlencoded first, or a colon or letter beyond ASCII is ambiguous.
        credentials = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret.get_secret_value())}"
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }

    async def ask(self, token: str) -> Mapping[str, Any]:
        """What the issuer says of a token, read but not judged; how long it may take is the caller's to bound.

        Raises:
            IntrospectionError: nothing usable.
        """
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        try:
            try:
                return await self._post(form)
            except aiohttp.ServerDisconnectedError:
                # An idle connection that the server had closed: asking changes nothing there, so ask again.
                return await self._post(form)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Only the kind of failure: messages of the client may quote what a server sent.
            raise IntrospectionError(f"the connection failed ({type(error).__name__})") from None

    async def _post(self, form: bytes) -> Mapping[str, Any]:
        async with self._client.post(self._url, data=form, headers=self._headers, allow_redirects=False) as response:
            _check_head(response)
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_RESPONSE:
                    raise IntrospectionError(f"the answer is larger than {MAX_RESPONSE} bytes")
        try:
            return claims_introspected.read(bytes(body))
        except ValueError:
            raise IntrospectionError("the answer is not an introspection response in strict JSON") from None


def _check_head(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in (401, 403):
        raise IntrospectionError(f"the endpoint refuses the configured client_id and client_secret (status {status})")
    if status in (429, 503):
        crowded = status == 429
        raise IntrospectionError(f"answered with status {status}", retry_after=_pause(response), crowded=crowded)
    if status != 200:
        raise IntrospectionError(f"answered with status {status}")
    if response.content_type != "application/json":
        raise IntrospectionError("the answer is not application/json")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise IntrospectionError("the answer came compressed, although that was declined")


def _pause(response: aiohttp.ClientResponse) -> int:
    """Whole seconds (RFC 9110 section 10.2.3); a date is not worth a second clock."""
    text = response.headers.get("Retry-After", "")
    return min(max(int(text), 1), MAX_PAUSE) if text.isascii() and text.isdigit() and len(text) < 10 else 1
