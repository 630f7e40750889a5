"""Policy files as documents: how does YAML become a compiled policy?

`reading` merges the files into one *model* (`models`), `compile` turns the model into a `Policy`. A *checker*
collects *problems*, each with its `file:line`, so that one run reports all of them. *Declared* means named in a
section of the policy; `completeness` detects truncated files.

Start reading with `compile_policy` in `compile.py`; `models.py` is the reference of all keys. `operations` and
`tools` compile what clients may call, `argument_schemas` its JSON Schemas, `tests_section` checks the policy's tests.

It imports `config/documents` and the other modules of `policy`; `policy`, `workbench` and `cli` import it.
"""
