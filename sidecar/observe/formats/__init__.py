"""Text of log lines: for people, may it have colours, and how does it read on a terminal; and which of it recurs.

`palette` decides about colours and paints words, for the log, the commands and the demo alike; `console` writes the
fields of a log line as one readable line. `usual_lines` remembers the text that lines of usual calls share.

Imports only `statuses` of the package; `logs`, `record`, the commands and the demo import it.
"""
