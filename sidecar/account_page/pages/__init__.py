"""Pages of the account page, each a function from values to markup: no store, no request, no clock.

`page_frame.py` has the parts that all pages share. Texts from records, tokens and clients pass `markup.shown`, which
cuts them; `markup.tag` escapes every text. Start with `page_frame.py`, then `overview_page.py`.

Imports `account_page/web`, `account_page/login`, `management`, `policy`, `ledger` and the vocabulary. `account_page`
imports it.
"""
