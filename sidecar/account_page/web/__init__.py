"""Requests, answers and HTML of the account page, without its subject.

*Markup* is text that is HTML already; every other text is escaped when it becomes a part of markup. A *form request*
is a request with its cookies, query and fields, read within limits. Start with `markup.py`, then `page_answers.py`.

Imports `proxy/listener` and the vocabulary. `account_page/login` and `account_page/pages` import it.
"""
