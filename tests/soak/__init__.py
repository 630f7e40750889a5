"""Hours of killing by hand, seconds of it in the suite: `python -m tests.soak --minutes 5 --seed 1`."""
