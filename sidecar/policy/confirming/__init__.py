"""Confirmation of a tool call: the rule, the text that a person reads, and the approval that the call claims.

Start reading at `approval_claims` (gate 4 of a tool with `confirm`). `confirm_rule` is the compiled rule;
`message_template` and `escaped_values` make the text, of which every value may come from a model that wants to mislead.

Vocabulary: a *claim* is an approval that a call says it has: its admission checks it. A client that *can ask* declares
the elicitation capability; without it the call is refused, or falls back to the argument where the rule says so.

May import `model`, `errors`, `approval` and `protocol`. Imported by `policy`, `workbench` and `proxy`.
"""
