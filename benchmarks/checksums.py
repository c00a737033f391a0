"""What checking at first touch costs: the first epoch of a stream with verify="first" over one with "off".

Both read the same patches in the same order, each from a set opened anew, warm cache; they take turns, and the median
of the pairs counts. "always" and second epochs, where "first" has nothing left to check, are for
comparison. Prints one JSON line.

    python benchmarks/checksums.py --shards root/
"""

import argparse
import gc
import json
import statistics
import time

from nlbs.shards import open_shards
from nlbs.train import PatchStream

MODES = ("off", "first", "always")


def epochs(path: str, verify: str, batch_size: int, busy_s: float) -> tuple[float, float]:
    """Return the seconds of the first and of the second epoch of a set that is opened anew.

    Args:
        path: of the set.
        verify: as for ``open_shards``.
        batch_size: of the stream.
        busy_s: what a step costs that is taken with each batch, and that needs no core: as on a GPU.
    """
    with open_shards(path, verify=verify) as shards:
        stream = PatchStream(shards, batch_size, seed=0, split=None)
        stream.batch_rows(0, 0)
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            for _ in stream:
                if busy_s:
                    time.sleep(busy_s)
            seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def main() -> None:
    """Measure the three policies in turn, as quick as can be and with a step of two milliseconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    said: dict[str, dict[str, float]] = {}
    for name, busy_s in (("alone", 0.0), ("with_steps_of_2_ms", 0.002)):
        pairs: dict[str, list[float]] = {}
        epochs(options.shards, "first", options.batch_size, 0)  # warms the cache
        for number in range(options.rounds):
            gc.collect()
            order = MODES if number % 2 else MODES[::-1]
            found = {mode: epochs(options.shards, mode, options.batch_size, busy_s) for mode in order}
            for mode in ("first", "always"):
                pairs.setdefault(mode, []).append(found[mode][0] / found["off"][0])
                pairs.setdefault(f"{mode}, second epoch", []).append(found[mode][1] / found["off"][1])
        said[name] = {mode: round(statistics.median(ratios), 3) for mode, ratios in pairs.items()}
    print(json.dumps({"benchmark": "checksums", "batch_size": options.batch_size, "over_off": said}))


if __name__ == "__main__":
    main()
