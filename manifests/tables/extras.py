"""What is kept beside the conditions, on request: density, BI-RADS, findings, other columns; never what identifies."""

import ast
import re
import warnings
from collections.abc import Iterable

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import is_empty

LONGEST_VALUE = 64
LONGEST_LABELS = 1000  #: of several values as one: a label that is cut off would be another one
#: A column with more values than this describes patients one by one.
MOST_VALUES = 1000

#: What View Position (0018,5101) may say of a radiograph (PS3.3 C.8.1.2).
PROJECTIONS = ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO")

#: Columns of images.csv and of the manifest: no kept column may have such a name.
RESERVED = frozenset(
    re.findall(
        r"\w+",
        """shard offset nbytes crc32c image y x scale foreground view laterality age_years age_bin cancer
        false_positive patient split kind row status reason from_header generation spacing_mm source_rows source_columns
        crop_y crop_x crop_rows crop_columns mask_y mask_x mask_rows mask_columns mask_fraction mask_method
        mask_threshold mask_raggedness mask_components mask_borders mask_flags breast_p1 breast_median breast_p99
        qc_row_jump qc_streaks qc_busiest qc_flattest voi inverted bits_stored transfer_syntax decoder frame
        pixels_sha256""",
    )
)

_BIRADS_LETTERS = {"A": "0", "N": "1", "B": "2", "P": "3", "S": "4", "M": "5", "K": "6", "X": None}
_BIRADS_ORDER = ("1", "2", "3", "0", "4", "4A", "4B", "4C", "5", "6")
_NAMES_THAT_IDENTIFY = re.compile(
    r"uid$|date|birth|accession|mrn$|^name$|(first|last|family|given|patient|file)name|^patientid$|address|phone|zip|path$"
)
_IDENTIFIES = (
    (re.compile(r"\d+(\.\d+){4,}"), "DICOM UIDs"),
    (
        re.compile(r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|(19|20)\d{6}"),
        "dates",
    ),
    (re.compile(r"[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d{7,}"), "ids"),
    (re.compile(r".*[/\\].*\.\w{2,5}|.*\.(dcm|dicom|png|jpe?g|tiff?|pgm)"), "paths of files"),
)


def parse_density(text: str) -> str | None:
    """Read a breast density: "A" to "D" of 1 to 4, a to d, "DENSITY C". 0 and 5 (a male breast, EMBED) are unknown.

    Raises:
        ValueError: none of these.
    """
    if is_empty(text):
        return None
    match = re.fullmatch(r"(?:DENSITY|ACR|TYPE)?[\s_-]*([0-5A-D])(?:\.0*)?", text.strip().upper())
    if match is None:
        raise ValueError(f"{text!r} is not a breast density (A to D, or 1 to 4)")
    return {"0": None, "5": None, "1": "A", "2": "B", "3": "C", "4": "D"}.get(match[1], match[1])


def parse_birads(text: str) -> str | None:
    """Read a BI-RADS assessment: "0" to "6", "4A" to "4C", of 4, 4.0, "BI-RADS 4", 4a or a letter of EMBED.

    EMBED writes A 0 (additional evaluation), N 1 (negative), B 2 (benign), P 3 (probably benign), S 4 (suspicious),
    M 5 (highly suggestive of malignancy), K 6 (known malignancy), X none.

    Raises:
        ValueError: none of these.
    """
    if is_empty(text):
        return None
    bare = re.sub(r"^BI-?\s?RADS[\s:_-]*", "", text.strip().upper())
    if bare in _BIRADS_LETTERS:
        return _BIRADS_LETTERS[bare]
    match = re.fullmatch(r"([0-6])(?:\.0*)?|(4)\s?([ABC])", bare)
    if match is None:
        raise ValueError(f"{text!r} is not a BI-RADS assessment (0 to 6, or 4A to 4C)")
    return match[1] or match[2] + match[3]


def parse_findings(text: str) -> str | None:
    """Read findings: "Mass|Nodule", or a Python list as "['Mass', 'Nodule']"; return them sorted and joined by "|"."""
    if is_empty(text):
        return None
    items = _listed(text) if text.strip().startswith("[") else [text]
    parts = [part for item in items for part in item.split("|")]
    return joined(parts)


def _listed(text: str) -> list[str]:
    """Return the items of a Python list of texts or numbers, None for one that is not known."""
    try:
        with warnings.catch_warnings():  # a warning about a backslash would repeat the cell, and end a test
            warnings.simplefilter("ignore")
            listed = ast.literal_eval(text.strip()[:10_000])
        if not isinstance(listed, list) or not all(isinstance(i, str | int | float | None) for i in listed):
            raise ValueError("another thing")
        return ["" if item is None else str(item) for item in listed]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"{text[:80]!r} is no list of findings") from None


def parse_split(text: str) -> str | None:
    """Read a dataset's own split: "train", "val" or "test".

    Raises:
        ValueError: none of these.
    """
    if is_empty(text):
        return None
    names = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
    split = {**names, "test": "test", "testing": "test"}.get(text.strip().lower())
    if split is None:
        raise ValueError(f"{text!r} is not a split (train, val or test)")
    return split


def parse_projection(text: str) -> str | None:
    """Read the projection of a radiograph, which is no view of a breast: one of :data:`PROJECTIONS`.

    Raises:
        ValueError: none of these.
    """
    if is_empty(text):
        return None
    projection = text.strip().upper()
    if projection not in PROJECTIONS:
        raise ValueError(f"{text!r} is not a projection ({', '.join(PROJECTIONS)})")
    return projection


def parse_text(text: str) -> str | None:
    """Return any cell as one line of at most 64 characters; None where it is empty."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    if is_empty(line):
        return None
    return line if len(line) <= LONGEST_VALUE else line[: LONGEST_VALUE - 1] + "…"


def joined(parts: Iterable[str]) -> str | None:
    """Return several values as one: those that say something, each once, sorted, joined by "|"."""
    values = sorted({line for part in parts if (line := parse_text(part)) is not None})
    return "|".join(values)[:LONGEST_LABELS] or None


def united(name: str, values: Iterable[str | None]) -> str | None:
    """Return the value of an image of which several rows tell: the gravest BI-RADS, findings side by side.

    A density on which rows differ is unknown.
    """
    known = {value for value in values if value is not None}
    if not known:
        return None
    if name == "birads":
        return max(known, key=_BIRADS_ORDER.index)
    if name in ("density", "dataset_split"):
        return known.pop() if len(known) == 1 else None
    return joined(part for value in known for part in value.split("|"))


def refuse_identifying(
    name: str, identifying: Iterable[str], values: Iterable[str | None], may_differ: bool = False
) -> None:
    """Refuse to keep a column that could lead to a patient.

    Args:
        name: of the column.
        identifying: columns of the table that name a patient, an exam or a file.
        values: of the images, one each.
        may_differ: whether each image may have a value of its own, as in a small table of findings.

    Raises:
        DatasetError: it is one of those, is called like one, or its values look like ids, dates or UIDs.
    """
    bare = re.sub(r"[\W_]", "", name.casefold())
    if bare in {re.sub(r"[\W_]", "", column.casefold()) for column in identifying}:
        raise _refusal(name, "it names patients, exams or files")
    if _NAMES_THAT_IDENTIFY.search(bare):
        raise _refusal(name, "by its name it holds dates, names, UIDs, addresses or paths")
    known, rows = set(), 0
    for value in values:
        if value is None:
            continue
        rows += 1
        if value not in known:
            known.add(value)
            for pattern, what in _IDENTIFIES:
                if any(pattern.fullmatch(part) for part in value.split("|")):
                    raise _refusal(name, f"it holds what looks like {what}")
        if len(known) > MOST_VALUES:
            raise _refusal(name, f"it has more than {MOST_VALUES} different values")
    if rows > 1 and len(known) == rows and not may_differ:
        raise _refusal(name, "no two images have the same value in it")


def _refusal(name: str, why: str) -> DatasetError:
    return DatasetError(
        f"the column {name!r} cannot be kept: {why}, which identifies. What --keep takes stands in the shard set and "
        "goes wherever that goes; leave this column out"
    )
