"""Control of a running sidecar by its operator: the socket of `mcp-sidecar reload`, and the answers on it.

A *peer* is a process that connects to the socket; a *stale* socket is a file that a dead process left. Start with
`control_socket.ControlSocket`; the socket's mode is its only access control. The package imports `config`, `observe`,
`policy`, `proxy.listener.accepting` and `system`; `runtime` opens the socket, and `cli.reload` connects to it.
"""
