"""Private Valkey server of `store.url: embedded`: start it, share it among processes, stop it with the last user.

Start reading at `embedded_server`. `locks` has the file locks by which users find each other and the server.

A *user* is a process that has entered the store; an *orphan* is a server that has outlived all its users.

May import `connection`. Imported by `store`, `runtime`, `cli` and the demo.
"""
