"""Logins and sessions of the account page: redirect to the issuer, callback, cookie, and the end of a session.

*State*: secret of one authorization request, by which the callback finds its pending login. *Browser secret*: value of
a cookie that binds the callback to the browser that has begun the login. Start with `login_flow.py`.

Imports `account_page/web`, `identity/login`, `store` and what these import. `account_page` imports it.
"""
