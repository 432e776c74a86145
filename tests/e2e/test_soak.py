"""What the soak (soak.py) calls growth, on samples that are made up: a run takes most of an hour."""

import random

import soak

MINUTES = 45
RUNS = 40


def samples(growth, seed):
    """One a second after the warm-up, as in two runs that were recorded: a level that wanders by 1.2 MiB and has forgotten
    after half a minute where it was, and bursts that are taken back."""
    chance = random.Random(seed)
    count, level, burst = int(MINUTES * 60 * (1 - soak.WARM_UP)), 0.0, 0.0
    for second in range(count):
        level = 0.92 * level + chance.gauss(0, 0.47)
        burst = chance.uniform(1, 12) if chance.random() < 0.01 else burst * 0.8
        yield (57 + level + burst + growth * second / 3600) * soak.MIB, 27


def flat(growth):
    return sum(soak.judge(list(samples(growth, seed)), MINUTES) for seed in range(RUNS))


def test_a_growth_of_4_mib_an_hour_is_seen_in_nine_of_ten_runs_of_45_minutes():
    assert flat(4) <= RUNS // 10


def test_memory_that_only_wanders_is_flat():
    assert flat(0) == RUNS


def test_a_growth_of_6_mib_an_hour_is_always_seen():
    assert flat(6) == 0
