"""How the threads of numerical libraries wait for each other: asleep, so that a shared machine stays usable.

libgomp, which torch's wheels for Linux bring, lets a thread that waits spin for some milliseconds first. Beside one
other busy process that process time is what the thread it waits for lacks: a training step then takes many times as
long (benchmarks/busy_neighbour.py).
"""

import os
import sys

#: What a person may have said about waiting: of libgomp and libomp, of libgomp alone, of libomp and Intel's alone.
SAID_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def wait_asleep() -> bool:
    """Let OpenMP's threads sleep while they wait, in this process and those that it starts.

    Libraries read the environment once, when they are loaded: called after torch, this changes only processes that
    are started later. Called by commands alone; what a program that imports ``nlbs`` wants is its own affair.

    Returns:
        Whether it was set here: False where the user has said how to wait, or torch is loaded already.
    """
    if any(name in os.environ for name in SAID_BY_USER):
        return False
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # libomp and Intel's understand it as KMP_BLOCKTIME=0
    # libgomp, which torch's CPU builds have, first looks this often: at once asleep cost a quiet machine a quarter.
    os.environ["GOMP_SPINCOUNT"] = "1000"
    return "torch" not in sys.modules
