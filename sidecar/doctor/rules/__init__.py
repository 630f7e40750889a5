"""Rules of the doctor, pure: which answers let the official MCP clients in, and what cures the others?

Each module judges the answers to one kind of question and yields *findings*. Start with `findings.py` and
`probe_answer.py`. Texts of the server are shown escaped and cut.

It imports `protocol`, `identity` and the documents of `proxy/listener`.
"""
