"""Descriptions of rejected arguments: which argument is wrong, and which values are accepted?

A *sentence* names a declared argument and the accepted form, never a caller's value. `explaining` makes sentences
with bounded work; `branching` counts the schemas that apply to one value, which is the cost of the validator's
errors.

Start reading with `Explainer.explain` in `explaining.py`.

It imports `policy/names.py` and jsonschema_rs only; `policy/arguments.py` and `policy/language` import it.
"""
