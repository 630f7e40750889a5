"""Health of a store: may this server be used, how durable is it, and which records are corrupt?

Start reading at `examination`, which runs on every new connection. `permissions` checks that the user may run every
command; `durability` judges the server's INFO and CONFIG, and returns the reason to refuse it or warnings for the
operator; `corruption` names the key and field of a record that does not match the layout.

May import `commands` and `connection`. Imported by `store`, `runtime` and `cli`.
"""
