"""Admin API: how do the operator's own programs read and change accounts, consents and credits?

A *program* is a caller with a token or a certificate, and *permissions*. A *route* is one method of one path, with all
that is known of it: permission, parameters, schemas, handler. The routes are the only list: requests are matched and
checked by it, and the OpenAPI document is made from it. A *problem* is an error answer (RFC 9457).

Start with `api_server.AdminApi`, then `route_table`; `operations/` has the handlers, which call `management`.

It imports everything up to `management` and the listener of `proxy`; `runtime` starts it.
"""
