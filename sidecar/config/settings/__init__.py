"""Models of config.yaml: which keys exist, with which types, defaults and limits?

*Scalars* are durations, sizes, addresses and URLs with their own syntax; durations are seconds and sizes are bytes
in the models. The docstring of a field is its description in docs/config.md and in the JSON Schema.

Start reading with `Settings` in `settings.py`; `issuer_settings` has the issuers, `scalars` and `addresses` the
types of values, `settings_schema` the JSON Schema for editors.

Pure: it imports `config/documents` only; every package above may import it.
"""
