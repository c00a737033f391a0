"""Teaching cases: normal ones, and each thing that healthy patients do not have, in an order that tells nothing."""

from collections.abc import Mapping

import numpy as np

from nlbs.errors import ConfigError
from nlbs.generate.distribution import Distribution
from nlbs.generate.plan import Layout, Plan, checked_number, known_values, uniform
from nlbs.manifests.schema import Schema, Value
from nlbs.paths import AnyPath
from nlbs.shards import open_shards


def kinds(schema: Schema) -> dict[str, dict[str, Value]]:
    """Return the kinds of cases, and what each says of the conditions that tell healthy patients from others.

    In a case that is not normal one of them is another than healthy. The others are healthy, and labels, of which
    several may come with it, are unknown.

    Raises:
        ConfigError: the model has no such condition.
    """
    telling = [c for c in schema if c.healthy is not None and c.kind != "continuous"]
    if not telling:
        raise ConfigError(
            f"the model has no condition that tells healthy patients from others: it has {', '.join(schema.names)}"
        )
    normal: dict[str, Value] = {}
    for condition in telling:
        healthy = int(condition.healthy or 0)
        normal[condition.name] = healthy if condition.is_coded else (float(healthy),) * len(condition.values)
    labels: dict[str, Value] = {c.name: c.parse("") for c in telling if not c.is_coded}
    found: dict[str, dict[str, Value]] = {"normal": normal}
    for condition in telling:
        others = [value for value in known_values(condition) if value != normal[condition.name]]
        for value in others:
            word = (
                condition.label
                if condition.kind == "binary"
                else f"{condition.label} {condition.word(value)}"
            )
            found[word] = {**normal, **labels, condition.name: value}
    return found


def cases(
    schema: Schema, num: int, seed: int, fixed: Mapping[str, Value], like: AnyPath | None = None
) -> Plan:
    """Return ``num`` cases of each kind, in an order drawn by the seed.

    Args:
        schema: of the model.
        num: of each kind.
        seed: of order and conditions.
        fixed: condition -> value of those that all cases share.
        like: a shard set, whose training patches say how the others occur; None: each known value alike.

    Raises:
        ConfigError: more than one call draws, ``fixed`` says what makes the kinds, or the set has no training patch.
        ShardError: the set cannot be opened.
    """
    told = kinds(schema)
    if wrong := [schema[name].label for name in told["normal"] if name in fixed]:
        raise ConfigError(
            f"cases are {', '.join(told)}: do not say {' or '.join(wrong)}, which tells them apart"
        )
    count = checked_number(num * len(told))
    order = np.argsort(uniform("cases", seed, count), kind="stable")
    names = np.array(list(told))[order % len(told)].tolist()
    if like is None:
        values = {}
        for condition in schema:
            listed = condition.array(known_values(condition))
            values[condition.name] = listed[
                (uniform(f"case {condition.name}", seed, count) * len(listed)).astype(np.int64)
            ]
        source = "teaching cases, other conditions at random"
    else:
        with open_shards(like) as shards:
            drawn = Distribution(shards, schema).drawn(count, seed)
        values, source = dict(drawn.values), f"teaching cases, other conditions {drawn.source}"
    for name, value in fixed.items():
        values[name] = schema[name].array([value]).repeat(count, axis=0)
    for name in told["normal"]:
        values[name] = schema[name].array([told[kind][name] for kind in names])
    layout = Layout("case", digits=3, first=1, withheld=(*told["normal"], "answer"))
    return Plan(schema, values, source, {"answer": names}, layout)
