"""Narrowing of the schemas in lists: which arguments does the policy accept, in the form of the backend's schema?

Models then learn a rule from the list and not from a refusal. A narrowed schema accepts nothing that the backend's
schema refuses, and everything that the backend's schema and the policy both accept.

Start reading with `schema_narrowing.py`; `keywords.py` has the keywords that apply alone. Pure. It imports nothing of
the package; the argument rules import it, and `proxy` shows its schemas.
"""
