"""Price expressions: which amount does a JMESPath expression give, at which cost?

An expression reads *roots* (`arguments`, `meta`, and at the settlement `result`, `data`); its *reads* are the fields
known before the first call. A *step* is the time of one field; *growth* is the size of a value relative to the input.

Start reading with `compile_expression` in `expressions.py`; `compiling.py` makes functions of syntax trees,
`step_budget.py` bounds their steps, `growth.py` refuses expressions that repeat their input.

It imports the vocabulary modules and JMESPath only; `policy` imports it.
"""
