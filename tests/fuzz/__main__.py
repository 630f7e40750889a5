"""Fuzz for some minutes: `python -m tests.fuzz --minutes 10 [--seed N] [TARGET…]`.

What is found is made smaller, printed, and kept in the corpus, where every run of the tests replays it: give the
file a name that says what it is once it is understood.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import secrets
import sys
import time
from collections.abc import Mapping
from itertools import islice

from tests.fuzz.rounds import Found, fuzzed, replayed, smaller
from tests.fuzz.targets import CORPUS, TARGETS, Target

STEP = 500
"""Inputs of one target before the next has its turn."""
ENOUGH = 10
"""Different troubles after which it is time to look at them."""


def main() -> int:
    """Run until the time is up; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads other people's bytes.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="where to begin; a run can be repeated")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[], metavar="TARGET")
    options = parser.parse_args()
    chosen = {name: TARGETS[name] for name in options.targets or TARGETS}
    print(f"seed {options.seed}: {', '.join(chosen)}")
    found = _run(chosen, options.seed, time.monotonic() + options.minutes * 60)
    for one in found.values():
        path = CORPUS / one.target / f"found-{hashlib.sha256(one.data).hexdigest()[:8]}"
        path.write_bytes(one.data)
        print(f"{one}kept as {path}\n", file=sys.stderr)
    return bool(found)


def _run(chosen: Mapping[str, Target], seed: int, end: float) -> dict[str, Found]:
    """Findings, one input per reason."""
    found: dict[str, Found] = {}
    done = 0
    for target in chosen.values():
        found.update((one.why, one) for one in replayed(target, seed))
    while time.monotonic() < end and len(found) < ENOUGH:
        for target in chosen.values():
            for one in islice(fuzzed(target, range(seed + done, seed + done + STEP)), ENOUGH):
                found.setdefault(one.why.splitlines()[-1] + target.name, smaller(target, one))
        done += STEP
    print(f"{done} inputs each, {len(found)} found")
    return found


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
