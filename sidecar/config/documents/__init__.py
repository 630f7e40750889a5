"""YAML documents with positions: which value is written where, and which problems does it have?

A *document* has plain values, a *path* leads to one of them, a *position* is its file, line and column, and a
*problem* is a fault at a position. All problems are reported at once and none repeats a value.

Start reading with `merging.py`, which exports the names of this package; `strict_yaml` parses, `validation` reads
a document into a pydantic `Model`, `positions` has the data types.

Pure: it imports no other package of the sidecar; `config`, `policy/language`, `workbench` and `cli` import it.
"""
