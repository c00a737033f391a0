"""YAML that may come from somebody else: plain data of bounded size, however often it repeats a part of itself.

An alias takes no memory in YAML itself, but whoever merges, copies or checks what it stands for goes through it as
often as it is named: ten lines of nested aliases are a thousand million values. What a document would be if it were
written out is counted before it is built.
"""

from collections.abc import Hashable
from typing import Any

import yaml

MOST_BYTES = 1 << 16  #: of a file; a resolved configuration has a few thousand
MOST_VALUES = 20_000  #: of a document, aliases written out
MOST_DEPTH = 32
_MOST_NUMBER_CHARS = 100


class _Loader(yaml.SafeLoader):
    """Builds plain data, and no mapping in which a key stands twice."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping. Raises yaml.YAMLError: it has a key twice."""
        if isinstance(node, yaml.MappingNode):
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            merge = ("tag:yaml.org,2002:merge", "<<")
            if len(set(keys)) < len(keys) - max(0, keys.count(merge) - 1):
                raise yaml.YAMLError(f"a key stands twice in the mapping at line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep=deep)  # type: ignore[arg-type]  # what is none raises in it


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document: mappings, lists, texts, numbers, dates.

    Raises:
        ValueError: it is no YAML, has tags that build objects, or is larger or deeper than a configuration is.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text):,} characters, at most {MOST_BYTES:,} are read")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except (
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as error:  # of a value that is none of its tag
        raise ValueError(f"it has a value that cannot be read ({type(error).__name__})") from None


def _count(root: yaml.Node) -> None:
    """Raise ValueError where a document has too many values, is too deep, or holds itself."""
    sizes: dict[int, tuple[int, int]] = {}  # node -> values and depth of what it stands for
    entered: set[int] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        below = _below(node)
        if id(node) not in sizes and id(node) not in entered:
            entered.add(id(node))
            waiting = [child for child in below if id(child) not in sizes]
            if any(id(child) in entered for child in waiting):
                raise ValueError("it holds itself")
            stack += waiting
            continue
        stack.pop()
        if id(node) not in sizes:
            known = [sizes[id(child)] for child in below]
            sizes[id(node)] = (
                1 + sum(count for count, _ in known),
                1 + max((deep for _, deep in known), default=0),
            )
    values, depth = sizes[id(root)]
    if values > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values")
    if depth > MOST_DEPTH:
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep")


def _below(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    if number and len(node.value) > _MOST_NUMBER_CHARS:
        raise ValueError(f"it has a number of {len(node.value):,} characters")
    return []
