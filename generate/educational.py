"""Teaching cases: normal, cancer and false positive in an order that tells nothing."""

from collections.abc import Mapping

import numpy as np

from nlbs.generate.distribution import Distribution
from nlbs.generate.plan import Plan, checked_number, uniform
from nlbs.generate.png_folder import Layout
from nlbs.manifests.conditions import CONDITIONS
from nlbs.paths import AnyPath
from nlbs.shards import open_shards

KINDS = {"normal": (0, 0), "cancer": (1, 0), "false positive": (0, 1)}

#: What neither a picture nor the table beside it says.
LAYOUT = Layout("case", digits=3, first=1, withheld=("cancer", "false_positive", "answer"))


def cases(num: int, seed: int, fixed: Mapping[str, int], like: AnyPath | None = None) -> Plan:
    """Return ``num`` cases of each kind, in an order drawn by the seed.

    Args:
        num: of each kind.
        seed: of order and conditions.
        fixed: condition -> code of view, laterality and age bin that all cases share.
        like: a shard set, whose training patches say how the others occur; None: each known value alike.

    Raises:
        ConfigError: more than one call draws, or the set has no training patch.
        ShardError: the set cannot be opened.
    """
    count = checked_number(num * len(KINDS))
    order = np.argsort(uniform("cases", seed, count), kind="stable")
    names = np.array(list(KINDS))[order % len(KINDS)]
    if like is None:
        codes = {
            name: (uniform(f"case {name}", seed, count) * values).astype(np.int64)
            for name, values in CONDITIONS.items()
        }
        source = "teaching cases, other conditions at random"
    else:
        with open_shards(like) as shards:
            drawn = Distribution(shards).drawn(count, seed)
        codes, source = dict(drawn.codes), f"teaching cases, other conditions {drawn.source}"
    for name, code in fixed.items():
        codes[name] = np.full(count, code, dtype=np.int64)
    for place, name in enumerate(("cancer", "false_positive")):
        codes[name] = np.array([KINDS[kind][place] for kind in names], dtype=np.int64)
    return Plan(codes, source, {"answer": names.tolist()})
