"""Warnings that need the positions of the documents: which valid lines have an effect that was not intended?

A *rule* here is the `file:line` of a notice. `policy_warnings` judges a compiled policy and its merged document,
`argument_warnings` the schemas of its tools, `config_warnings` the config, this machine's ports and folders.

Warnings never change the exit status of `check`, and `serve` does not look for them.

It imports `workbench.lint`, `policy` and `config`; `cli` imports it.
"""
