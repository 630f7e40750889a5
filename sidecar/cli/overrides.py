"""Account's own limits on the command line: `--quota search_rows.month=50000`, `=unlimited`, `=plan`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sidecar.cli.common import UsageError, amount, shown
from sidecar.management.account_records import UNLIMITED
from sidecar.policy.rules import Policy
from sidecar.window_rules import WINDOWS, Window

PLAN: Final = "plan"


class Override(NamedTuple):
    """Value of one `--quota`.

    Attributes:
        drop: True restores the plan's limit; `limit` is then unused.
        limit: units per window; None for no limit.
    """

    quota: str
    window: Window
    drop: bool
    limit: int | None


def add(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--quota",
        type=_override,
        action="append",
        default=[],
        metavar="NAME.WINDOW=LIMIT",
        help="the account's own limit: a number, `unlimited`, or `plan` to restore the plan's limit; may be repeated",
    )


def _override(text: str) -> Override:
    field, _, limit = text.partition("=")
    quota, _, window = field.rpartition(".")
    if not quota or not limit:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME.WINDOW=LIMIT, as in search_rows.month=50000")
    if window not in WINDOWS:
        raise argparse.ArgumentTypeError(f"there is no window {window!r}: {', '.join(WINDOWS)}")
    if limit in (UNLIMITED, PLAN):
        return Override(quota, window, limit == PLAN, None)
    try:
        return Override(quota, window, False, amount(limit))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{field}: {error}, or {UNLIMITED}, or {PLAN}") from None


def check(policy: Policy, overrides: Sequence[Override]) -> None:
    """Check the limits to set against the current policy.

    Raises:
        UsageError: a limit's quota is not in the policy, or a limit is given twice.
    """
    known = ", ".join(policy.quotas) or "the policy has none"
    strange = dict.fromkeys(each.quota for each in overrides if not each.drop and each.quota not in policy.quotas)
    wrong = [f"there is no quota {name!r}: {known}" for name in strange]
    places = [(each.quota, each.window) for each in overrides]
    twice = dict.fromkeys(place for place in places if places.count(place) > 1)
    wrong += [f"--quota {quota}.{window} is given more than once" for quota, window in twice]
    if wrong:
        raise UsageError("\n".join(wrong))


def words(limits: Mapping[str, int | str]) -> str:
    """Format own limits on one line; empty without any."""
    return ", ".join(f"{shown(field)}={limit}" for field, limit in limits.items())


def limits_of(overrides: Iterable[Override]) -> dict[tuple[str, Window], int | None]:
    """Return the limits to set."""
    return {(each.quota, each.window): each.limit for each in overrides if not each.drop}


def drops_of(overrides: Iterable[Override]) -> list[tuple[str, Window]]:
    """Return the limits to drop."""
    return [(each.quota, each.window) for each in overrides if each.drop]
