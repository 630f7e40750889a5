"""Tools that the sidecar answers itself (`serve`): the arguments of each, and its definition in lists.

Start with `own_tools`; `proxy.served_tools` makes the answers. Pure: imports `vocabulary`. Imported by
`policy.language` and `proxy`.
"""
