"""Parts of `explain`: what did each gate ask and find, and what would make a refused call pass?

A *look* is the reply of the store's admission script, which wrote nothing. A *remedy* is a sentence for the operator.
A *recorded decision* is the log line of a past call. All of it is pure but for the reader of a log file.

Start reading with `store_look.py` and `recorded.py`; `workbench.explainer` puts the steps together. It imports
`policy`, `ledger` and `policy_tests`.
"""
