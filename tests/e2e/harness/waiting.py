"""Waiting for something to be true, with a deadline and never by a fixed sleep."""

import time

DEADLINE = 10.0


def until(condition, what, deadline=DEADLINE):
    """Asks `condition` until its answer is truthy and returns that answer."""
    end = time.monotonic() + deadline
    pause = 0.002
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline:g} s in vain: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
