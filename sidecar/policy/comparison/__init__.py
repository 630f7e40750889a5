"""Comparison of two policies: the declarations that changed, and the protections that one lost.

Vocabulary: a *change* is a line for people, such as `quota requests day 5→10`; a *weakening* is a confirmation, a price
or the last test that a tool no longer has.

Start with `declared_changes.policy_changes`. The package imports `policy.rules` only; a reload and its log use it.
"""
