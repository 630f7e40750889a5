"""Scaffold of config and policy: which files fit the backend that is running now?

An *inventory* is everything that a backend lists. `scaffold` makes files of it: for each tool an *entry* with a guessed
*level* (read, write or destructive) and its scope, an *adopted* schema of the arguments, a confirmation, a pin and a
starter test. A *finding* is something that was left out or changed; a comment `# DECIDE:` marks a guess.

The backend's texts are data of another party: they reach the files as values of a YAML emitter, and messages escaped.

Start reading with `scaffold.py`; `schema_adoption.py` turns an input schema into `arguments`.

It imports `config`, `policy` and the test runner of `workbench`; `mcp_client`, `trial` and `cli` import it.
"""
