"""The columns of a manifest as filters and balances see them: text or numbers, and the values they may have."""

import difflib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from nlbs.errors import ConfigError
from nlbs.manifests.conditions import LATERALITIES, OTHER_VIEWS, VIEWS
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS

_NAMED = {"view": (*VIEWS, *OTHER_VIEWS), "laterality": LATERALITIES, "split": SPLITS}


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column of a manifest.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in table.column_names:
        raise ConfigError(f"a manifest has no column {name!r}; {nearest(name, table.column_names)}")
    return table[name]


def is_text(column: pa.ChunkedArray) -> bool:
    """Return whether a column holds text; otherwise it holds numbers."""
    return bool(pa.types.is_dictionary(column.type) or pa.types.is_string(column.type))


def encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Return a column as one dictionary array: int codes, null where unknown, and the values behind them."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.unify_dictionaries().combine_chunks() if column.num_chunks else pa.array([], column.type)


def check_value(column: pa.ChunkedArray, name: str, value: str | int | float) -> None:
    """Refuse to ask a column for a value that it can never have: it would only find nothing.

    Raises:
        ConfigError: text where there are numbers or the reverse, or no such value.
    """
    if isinstance(value, str) != is_text(column):
        kinds = ("text", "numbers") if is_text(column) else ("numbers", "text")
        raise ConfigError(f"{name} holds {kinds[0]}, {value!r} is none; {_example(column, name)}")
    if isinstance(value, str):
        values = {*encoded(column).dictionary.to_pylist(), *_NAMED.get(name, ())}
        if value not in values:
            raise ConfigError(f"no patch has {name} {value!r}; {nearest(value, sorted(values))}")
    elif name in NLBS and value not in range(len(NLBS[name].values)):
        raise ConfigError(f"{name} is never {value}; known: 0 to {len(NLBS[name].values) - 1}, unknown")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the advice that an error about an unknown word ends with."""
    names = list(known)
    by_case = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), list(by_case), n=1, cutoff=0.5)
    more = ", ..." if len(names) > 20 else ""
    return f"did you mean {by_case[found[0]]!r}?" if found else f"known: {', '.join(names[:20])}{more}"


def _example(column: pa.ChunkedArray, name: str) -> str:
    if is_text(column):
        values = encoded(column).dictionary.to_pylist()
        return f"write for example {name} == {values[0] if values else 'unknown'!r}"
    low = pc.min(column).as_py()
    return f"write for example {name} == {'unknown' if low is None else low}"
