"""Text for people: may it have colours, and how does a log line read on a terminal?

`palette` decides about colours and paints words, for the log, the commands and the demo alike; `console` writes the
fields of a log line as one readable line.

Imports nothing of the package; `logs`, the commands and the demo import it.
"""
