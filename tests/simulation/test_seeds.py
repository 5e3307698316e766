"""The everyday test: whole clusters on virtual time, thousands of seeds, every fault there is."""

import gc
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

from hbd.sim.world import Violation, World, trace_of

SEEDS = int(os.environ.get("HBD_SEEDS", "20000"))
CHUNK = 250


def _violations(first: int) -> list[str]:
    gc.disable()  # A run is small and gone at once; looking for cycles in it takes a tenth of the time.
    found = []
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            World(seed).run()
        except Violation as violation:
            found.append(str(violation))
    gc.collect()
    return found


def test_no_seed_breaks_an_invariant() -> None:
    with ProcessPoolExecutor() as pool:
        found = [text for chunk in pool.map(_violations, range(0, SEEDS, CHUNK)) for text in chunk]
    assert not found, f"{len(found)} of {SEEDS} seeds; the first:\n{found[0]}"


def test_a_seed_gives_the_same_run_under_every_hash_seed() -> None:
    code = "from hbd.sim.world import trace_of; print([trace_of(seed) for seed in range(12)])"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True,
            capture_output=True, text=True, timeout=120,
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert len(runs) == 1


def test_two_seeds_give_different_runs() -> None:
    assert trace_of(1) != trace_of(2)
