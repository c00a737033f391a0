"""Filters: which patches of a manifest an expression such as ``view == 'MLO' and cancer == 0`` takes.

The expression is read as Python syntax, of which only comparisons, ``in``, ``is null``, ``and``,
``or``, ``not`` and parentheses are known; nothing is ever executed. A comparison with an unknown
is neither true nor false, as in SQL, and only patches are taken for which the whole is true:
``cancer == 0`` and ``not cancer == 1`` both leave out patches whose cancer is unknown.
"""

import ast
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nlbs.errors import ConfigError
from nlbs.shards.format.columns import check_value, column_of, encoded, is_text
from nlbs.text import printable, shown

Rows = npt.NDArray[np.int64]

_LONGEST = 2000  # characters
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("==", pc.equal),
    ast.NotEq: ("!=", pc.not_equal),
    ast.Lt: ("<", pc.less),
    ast.LtE: ("<=", pc.less_equal),
    ast.Gt: (">", pc.greater),
    ast.GtE: (">=", pc.greater_equal),
}
_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq, ast.NotEq: ast.NotEq, ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE,
}  # fmt: skip
_UNKNOWN = {"unknown", "null"}
_SYNTAX = (
    "write for example: view == 'MLO' and age_years >= 50 and cancer in [0, 1] and laterality is not null"
)


def select(manifest: pa.Table, where: str) -> npt.NDArray[np.bool_]:
    """Return which rows of a manifest a filter takes, (rows,) bool.

    Raises:
        ConfigError: the expression cannot be read, or names a column or a value that does not exist.
    """
    return _true(_evaluate(manifest, _parsed(where), where))


def explain_empty(manifest: pa.Table, where: str, rows: Rows) -> str:
    """Say of a filter that takes none of some rows how many each part of it, joined by ``and``, takes."""
    tree = _parsed(where)
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    counts = (int(_true(_evaluate(manifest, part, where))[rows].sum()) for part in parts)
    found = "; ".join(f"{_words(part)}: {count:,}" for part, count in zip(parts, counts, strict=True))
    return f"of {len(rows):,} patches it takes none ({found})"


def _parsed(where: str) -> ast.expr:
    try:
        if len(where) > _LONGEST:
            raise ValueError(f"{len(where)} characters, at most {_LONGEST} are read")
        return ast.parse(where.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(f"the filter {shown(where, 200)} cannot be read ({reason}); {_SYNTAX}") from None


def _evaluate(table: pa.Table, node: ast.expr, where: str) -> Any:
    """Return a boolean array, null where neither true nor false."""
    if isinstance(node, ast.BoolOp):
        combine = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        result = _evaluate(table, node.values[0], where)
        for value in node.values[1:]:
            result = combine(result, _evaluate(table, value, where))
        return result
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return pc.invert(_evaluate(table, node.operand, where))
    if isinstance(node, ast.Compare):
        result = None
        left = node.left
        for comparison, right in zip(node.ops, node.comparators, strict=True):  # 40 <= age_years < 60
            one = _compare(table, left, comparison, right, where)
            result = one if result is None else pc.and_kleene(result, one)
            left = right
        return result
    raise _not_understood(node, where)


def _compare(table: pa.Table, left: ast.expr, comparison: ast.cmpop, right: ast.expr, where: str) -> Any:
    kind = type(comparison)
    if _is_value(left) and not _is_value(right) and kind in _TURNED:
        left, right, kind = right, left, _TURNED[kind]  # 50 < age_years
    if not isinstance(left, ast.Name) or left.id in _UNKNOWN:
        raise _not_understood(left, where)
    column = column_of(table, left.id)
    if _is_unknown(right) and kind in (ast.Eq, ast.Is):
        return column.is_null()
    if _is_unknown(right) and kind in (ast.NotEq, ast.IsNot):
        return column.is_valid()
    if kind in (ast.In, ast.NotIn):
        values = right.elts if isinstance(right, ast.List | ast.Tuple | ast.Set) else None
        if not values:
            raise _not_understood(right, where)
        found = [_one_value(column, left.id, ast.Eq, value, where) for value in values]
        result = found[0]
        for other in found[1:]:
            result = pc.or_kleene(result, other)
        return result if kind is ast.In else pc.invert(result)
    return _one_value(column, left.id, kind, right, where)


def _one_value(column: pa.ChunkedArray, name: str, kind: type[ast.cmpop], node: ast.expr, where: str) -> Any:
    if kind is ast.Eq and _is_unknown(node):  # cancer in [0, unknown]
        return column.is_null()
    if not _is_value(node) or kind not in _COMPARISONS:
        raise _not_understood(node, where)
    value = ast.literal_eval(node)
    if not isinstance(value, str):
        try:
            value = float(value) if abs(value) >= 2**53 else value
        except OverflowError:
            raise _not_understood(node, where) from None
    sign, compare = _COMPARISONS[kind]
    if kind in (ast.Eq, ast.NotEq):
        check_value(column, name, value)
    elif isinstance(value, str) or is_text(column):
        raise ConfigError(
            f"the filter {shown(where, 200)} compares {name} by {sign}, which is for numbers; use == or in for text"
        )
    if not is_text(column):
        # As the column's own type if it is a float: 0.9 is to equal the 0.9 that is stored.
        number = column.type if pa.types.is_floating(column.type) else pa.float64()
        return compare(pc.cast(column, number), pa.scalar(float(value), number))
    codes = encoded(column)
    matches = compare(codes.dictionary, pa.scalar(value, codes.dictionary.type))
    return pa.chunked_array([pc.take(matches, codes.indices)], pa.bool_())


def _is_value(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return isinstance(node.operand, ast.Constant) and type(node.operand.value) in (int, float)
    return isinstance(node, ast.Constant) and type(node.value) in (str, int, float, bool)


def _is_unknown(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None
    return isinstance(node, ast.Name) and node.id in _UNKNOWN


def _true(result: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(result, False).to_numpy(), dtype=np.bool_)


def _words(node: ast.expr) -> str:
    """Gives a part of a filter for a message."""
    try:
        return printable(ast.unparse(node), 200)
    except RecursionError:
        return "a part that is nested deep"


def _not_understood(node: ast.expr, where: str) -> ConfigError:
    return ConfigError(f"the filter {shown(where, 200)} has {_words(node)!r} where none can stand; {_SYNTAX}")
