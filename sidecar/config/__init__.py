"""Configuration: what do config.yaml, the policy files and the TLS files contain, and are they valid?

A *document* is a YAML file with the position of each value; a *problem* is a fault with its `file:line` and the
accepted form. *Settings* are the validated config. *Substitution* replaces `${NAME}` and `${file:path}`. A *stamp*
is the file status that detects changes.

Start reading with `files.py`, which reads config and policy files; `documents/` parses and validates, `settings/`
has the models of config.yaml, `tls_files.py` makes TLS contexts, `unsupported.py` rejects values that this
version does not enforce.

It imports the vocabulary modules only; every package above may import it.
"""
