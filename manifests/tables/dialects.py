"""Which dataset a table is of: by its header, by name, or by columns that a person names with --map."""

import dataclasses
import difflib
import re
import shlex
from collections.abc import Mapping, Sequence

from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.conditions import PARSERS
from nlbs.manifests.datasets import DIALECTS
from nlbs.manifests.tables.dialect import EXTRA_PARSERS, Dialect
from nlbs.manifests.tables.spelling import simplified

_CALLED: dict[str, tuple[str, ...]] = {
    "path": (
        r"(?:full|relative|anon)?(?:image|img|dicom|dcm)?(?:file|dicom|image|img)?path(?:name)?",
        r"(?:image|img|dicom|dcm)?file(?:name)?s?",
        r"(?:image|img|dicom|dcm)(?:name|index|file)",
        r"path(?:to|of)?(?:the)?(?:image|file|dicom|dcm)",
        r"(?:datei|dateiname|bildpfad|pfad|chemin|fichier|ruta|archivo|percorso|bestand|bestandsnaam)",
    ),
    "patient": (
        r"(?:anon|pseudo)?(?:patient|subject|participant|client|person|case|woman)(?:id|nr|n|no|number|key|code)?",
        r"(?:patients|subjects)?(?:pid|mrn|empi|empianon|patid|ptid)",
        r"id(?:patient|paziente|paciente|patiente)|patientennummer|patientnummer",
    ),
    "view": (
        r"(?:image|img|mammo(?:graphic)?)?(?:view|projection)(?:position|code|name|type)?",
        r"(?:ansicht|projektion|incidence|proyeccion|proiezione|vista)",
    ),
    "laterality": (
        r"(?:image|breast|img)?(?:laterality|lateralityfinal)",
        r"(?:image|breast|body)?side|leftright|leftorrightbreast|lr|whichbreast",
        r"(?:seite|lateralite|cote|lado|lateralidad|lateralita|lato|zijde)",
    ),
    "age_years": (
        r"(?:patients?|womans?)?age(?:years?|inyears|y|atstudy|atexam|atscreening|atdiagnosis)?",
        r"(?:alter|edad|eta|leeftijd|idade)",
    ),
    "age_bin": (r"age(?:bin|group|class|category|band)",),
    "cancer": (
        r"(?:is|has|breast)?(?:cancer|malignan(?:t|cy))(?:label|status|outcome|yn|flag|proven|confirmed)?",
        r"(?:krebs|karzinom|maligne|bosartig|cancro|tumore|kanker)",
    ),
    "false_positive": (r"(?:is)?(?:falsepositive|falsepos|fp|recalledbenign)s?",),
    "density": (r"(?:breast|acr|birads)?density|acr",),
    "birads": (r"birads(?:score|category|assessment)?|assessment|breastbirads",),
    "findings": (r"findings?|findingcategories|abnormality(?:type)?",),
    "dataset_split": (r"(?:official|dataset|data)?split|subset|partition",),
}
_NEARLY = 0.85  # of the letters, in their order: "Cancr", not "Review"
_FEWEST = 2  # fewer may well be words of a patient's row, where the header is missing


def suggested_map(header: Sequence[str], wanted: Sequence[str] = (), before: str = "") -> str | None:
    """Return the options that say what the columns of a header are, ready to be pasted; None where too few are known.

    Args:
        header: of the table.
        wanted: what is to be named, all of it; empty is whatever is known, with the path.
        before: options that stand before them.
    """
    taken: dict[str, str] = {}
    asked = [name for name in _CALLED if not wanted or name in wanted]
    for name in asked:
        if column := _column(header, _CALLED[name], set(taken.values())):
            taken[name] = column
    for name in asked:
        if name not in taken and (column := _misspelt(header, name, taken)):
            taken[name] = column
    taken = {name: taken[name] for name in asked if name in taken}
    if len(taken) < (len(wanted) or _FEWEST):
        return None
    if "path" not in taken and not wanted:
        taken = {"path": "COLUMN", **taken}
    said = ",".join(f"{name}={column}" for name, column in taken.items())
    return f"{before}--map {shlex.quote(said)}"


def _column(header: Sequence[str], patterns: Sequence[str], taken: set[str]) -> str | None:
    """Return the column that is called most surely so, the first of several; None where there is none."""
    for pattern in patterns:
        named = [name for name in header if name not in taken and _can_be_said(name)]
        found = [name for name in named if re.fullmatch(pattern, simplified(_plain(name)))]
        if found:
            return found[0]
    return None


def _misspelt(header: Sequence[str], name: str, taken: Mapping[str, str]) -> str | None:
    """Return the column that is called nearly as what it would hold: what is left out of a map is left unknown."""
    free = {simplified(_plain(one)): one for one in header if one not in taken.values() and _can_be_said(one)}
    found = difflib.get_close_matches(simplified(name), free, n=1, cutoff=_NEARLY)
    return free[found[0]] if found else None


def _plain(name: str) -> str:
    """Return a name without what stands in brackets, as units do, and without accents of Latin letters."""
    bare = re.sub(r"[(\[].*?[)\]]", "", name)
    return bare.translate(str.maketrans("éèêëàâäáíïîóôöúüûñç", "eeeeaaaaiiiooouuunc"))


def _can_be_said(name: str) -> bool:
    """Return whether --map can name a column: a comma before "word=" and braces have a meaning there."""
    return name.isprintable() and len(name) <= 64 and not re.search(r",\s*\w+\s*=|[{}]", name)


__all__ = ["DIALECTS", "Dialect", "dialect_of", "own_dialect", "parse_columns", "recognise", "simplified"]

#: Those whose tables have a header with separators.
WITH_HEADER = tuple(dialect for dialect in DIALECTS if dialect.line is None)
#: What --map may say a column to be.
MAPPED = ("path", "frame", "patient", "kind", *PARSERS, *EXTRA_PARSERS)
_OWN = "own"  #: key of a table of one's own columns, which --dataset does not take
_OTHER_NAMES = {"age": "age_years", "side": "laterality", "falsepositive": "false_positive", "file": "path"}


def dialect_of(key: str) -> Dialect:
    """Return the dataset of a name.

    Raises:
        ConfigError: there is none of that name.
    """
    for dialect in DIALECTS:
        if dialect.key == key:
            return dialect
    keys = [dialect.key for dialect in DIALECTS]
    raise ConfigError(f"there is no dataset {key!r}{_nearest(key, keys)}; --dataset takes {', '.join(keys)}")


def recognise(
    header: Sequence[str], source: str, dialects: Sequence[Dialect] = WITH_HEADER
) -> tuple[Dialect, dict[str, int]]:
    """Return the dialect of a table and the position of each of its columns.

    Case, spaces and underscores in names do not matter; columns that no dialect knows are left alone.

    Args:
        header: column names as they stand in the file.
        source: names the table in messages.
        dialects: those to choose from.

    Raises:
        DatasetError: no dialect fits, and the message says what the nearest one lacks; or several do.
    """
    where = positions(header)
    missing = {
        dialect.key: [column for column in dialect.columns if simplified(column) not in where]
        for dialect in dialects
    }
    fitting = [dialect for dialect in dialects if not missing[dialect.key]]
    # A form whose columns are some of another's is the less exact one.
    exact = [one for one in fitting if not any(_names(one) < _names(other) for other in fitting)]
    if len(exact) > 1:
        names = ", ".join(dialect.key for dialect in exact)
        raise DatasetError(f"{source} may be a table of several datasets: say which with --dataset ({names})")
    if not exact:
        best = min(dialects, key=lambda dialect: len(missing[dialect.key]) / len(dialect.columns))
        raise DatasetError(_what_is_missing(best, missing[best.key], header, source))
    return exact[0], {column: where[simplified(column)] for column in exact[0].columns}


def positions(header: Sequence[str]) -> dict[str, int]:
    """Return simplified name -> position; of two columns of one name the first counts."""
    return {simplified(name): place for place, name in reversed(list(enumerate(header)))}


def parse_columns(texts: Sequence[str]) -> dict[str, str]:
    """Read ``--map``: "view=View Position,path=file" as condition -> column.

    Raises:
        ConfigError: no "=", a condition that does not exist, or one that is named twice.
    """
    result: dict[str, str] = {}
    for text in texts:
        # A column's own name may have a comma: only one before "word=" divides.
        for part in re.split(r",(?=\s*\w+\s*=)", text):
            said, equals, column = (piece.strip() for piece in part.partition("="))
            name = _OTHER_NAMES.get(simplified(said), said.lower())
            if not equals or not column:
                raise ConfigError(
                    f"--map {part.strip()!r}: expected condition=column, such as view=View Position"
                )
            if name not in MAPPED:
                raise ConfigError(
                    f"--map: there is no condition {said!r}{_nearest(said, MAPPED)}; there are {', '.join(MAPPED)}"
                )
            if name in result:
                raise ConfigError(f"--map names {name} twice ({result[name]!r} and {column!r})")
            result[name] = column
    return result


def own_dialect(columns: Mapping[str, str], base: Dialect | None = None) -> Dialect:
    """Return the dialect in which the named columns say what they are said to say, in place of a dataset's own.

    Args:
        columns: condition, "path" or "patient" -> column or template.
        base: the dataset whose other columns stay as they are; None for a table of one's own.

    Raises:
        ConfigError: a table of one's own whose images nothing names.
    """
    if base is None:
        if "path" not in columns:
            raise ConfigError(
                "--map does not say which column names the image: add path=COLUMN, or name a --dataset"
            )
        base = Dialect(_OWN, "own columns", columns["path"], conditions={}, foreground=None)
    said = {name: column for name, column in columns.items() if name in PARSERS}
    extras = {name: column for name, column in columns.items() if name in EXTRA_PARSERS}
    return dataclasses.replace(
        base,
        path=columns.get("path", base.path),
        patient=columns.get("patient", base.patient),
        conditions={**base.conditions, **said},
        extras={**base.extras, **extras},
        frame=columns.get("frame", base.frame),
        kinds=(columns["kind"],) if "kind" in columns else base.kinds,
    )


def _names(dialect: Dialect) -> frozenset[str]:
    return frozenset(simplified(column) for column in dialect.columns)


def _own_columns(best: Dialect, missing: Sequence[str], header: Sequence[str]) -> str | None:
    """Return the options that name the columns a dataset's table calls otherwise; None where not all are known."""
    if len(missing) > len(best.columns) / 2 or best.key == _OWN:
        return None
    rules = {"path": best.path, "patient": best.patient, **best.conditions}
    names = {said: name for name, said in rules.items() if isinstance(said, str) and said in missing}
    others = [name for name in header if simplified(name) not in map(simplified, best.columns)]
    if len(names) < len(missing):
        return None
    return suggested_map(others, tuple(names.values()), f"--dataset {best.key} ")


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _what_is_missing(best: Dialect, missing: Sequence[str], header: Sequence[str], source: str) -> str:
    hints = []
    for column in missing:
        near = difflib.get_close_matches(
            simplified(column), [simplified(name) for name in header], n=1, cutoff=0.7
        )
        found = next((name for name in header if near and simplified(name) == near[0]), None)
        hints.append(f"{column!r}" + (f" (is it {found!r}?)" if found is not None else ""))
    known = {simplified(column) for dialect in DIALECTS for column in dialect.columns}
    suggestion = _own_columns(best, missing, header)
    # Columns of one's own are joined with no second table: its labels would be lost.
    if suggestion is None and (best.companion is None or len(missing) > len(best.columns) / 2):
        suggestion = suggested_map(header)
    strange = known.isdisjoint(simplified(name) for name in header) and not any(
        "is it" in hint for hint in hints
    )
    if strange and suggestion is None:
        # Not repeated: where the header is missing, this is a patient's row.
        read = f"none of the {len(header)} cells of its first line is the name of a column: is the header missing?"
        if len(header) == 1:
            read = (
                "its first line has none of the separators comma, semicolon, tab and bar: use one of these."
            )
    else:
        read = f"it reads {', '.join(header)[:300]!r}."
    return (
        f"{source}: the header has no column {', '.join(hints)}; {read} "
        f"A table of the {best.name} form has {', '.join(best.columns)}: rename the columns, and leave the cells "
        "of what is not known empty; or say with --dataset what it is, or with --map which column is what"
        + (f". Made of its own header: {suggestion}" if suggestion else "")
        + (
            ", where COLUMN is the one that names the file"
            if suggestion and "path=COLUMN" in suggestion
            else ""
        )
    )
