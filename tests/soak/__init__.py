"""Soak test, of seconds in the suite and of hours by hand: `python -m tests.soak --minutes 5 --seed 1`."""
