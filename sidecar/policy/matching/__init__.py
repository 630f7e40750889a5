"""Regular expressions of schemas: how much work can a text of a caller make one byte of it?

The engine reads a text once. At each byte it goes on with all *threads*, the places in the pattern that the text read
so far may have reached. A pattern whose repeats overlap has many, and each costs time at every byte.

Start reading with `pattern_limits.py`; `pattern_threads.py` counts threads, `pattern_syntax.py` reads patterns. Pure.
It imports `config.documents`; the compiler of schemas imports it.
"""
