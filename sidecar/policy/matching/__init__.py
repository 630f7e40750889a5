"""Work of schemas: how much can one value of a caller, or one byte of its text, make them do?

A regular expression is read with all its *threads*, the places that the text read so far may have reached. A pattern
whose repeats overlap has many, and each costs time at every byte. An enumeration or a combination of schemas costs
time for each value of a list.

Start reading with `pattern_limits.py`; `pattern_threads.py` counts threads, `pattern_syntax.py` reads patterns,
`value_limits.py` looks at other keywords. Pure. It imports `config.documents`; the compiler of schemas imports it.
"""
