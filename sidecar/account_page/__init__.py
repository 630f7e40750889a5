"""Account page: what an account holder sees in a browser of an account, and what may be ended or confirmed there.

*Holder*: a person with a login at the issuer. *Page session*: that login, kept in the store for 30 minutes; its
cookie is never read at the MCP endpoint. *Pending login*: one between the redirect to the issuer and the callback.
Each text from a token, record or client is hostile: `web/markup.py` escapes it.

Start reading with `site.py`, which finds the page of a request. `login` logs people in, `pages` builds the pages,
`web` has requests, answers and HTML.

Imports `config`, `identity`, `management`, `policy`, `proxy` and what these import.
"""
