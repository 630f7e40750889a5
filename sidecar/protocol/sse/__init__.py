"""Server-sent events: chunks of a stream in, whole events out, and events back to bytes (WHATWG HTML 9.2).

`Parser` holds one stream's state, `ServerEvent` is one event. A bare event has no data and only sets the id or
the retry time. Start with `sse.Parser`.

Pure. Imports nothing of the sidecar. The protocol and the relay import it.
"""
