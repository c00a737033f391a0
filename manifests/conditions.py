"""What is known about an image: view, side, age, cancer, false positive; unknown stays unknown."""

import re
from dataclasses import dataclass

from nlbs.manifests.kinds import view_and_kind

UNKNOWN = -1  #: the integer code of an unknown condition in batches; on disk it is null

#: The views that condition a model, in the order of their codes.
VIEWS = ("CC", "MLO")
#: Sides of the patient, in the order of their codes.
LATERALITIES = ("L", "R")
#: Age bins in years, in the order of their codes; the NLBS dataset's own.
AGE_BINS = ("<=45", "46-55", "56-65", ">65")
#: Conditions of a model and the number of values of each; codes run from 0.
CONDITIONS = {
    "view": len(VIEWS),
    "laterality": len(LATERALITIES),
    "age_bin": len(AGE_BINS),
    "cancer": 2,
    "false_positive": 2,
}
_WORDS = {"view": VIEWS, "laterality": LATERALITIES, "age_bin": AGE_BINS}
#: Ages above this are recorded as one more: PS3.15 E.3.6 and HIPAA call them identifying.
OLDEST_AGE_YEARS = 89

#: Views beside CC and MLO that are kept as they are: a model sees them as unknown, never as MLO.
OTHER_VIEWS = ("ML", "LM", "LMO", "XCCL", "XCCM", "CV", "AT", "FB", "SIO", "ISO", "TAN", "RL", "RM")

_SIDES = {"l": "L", "left": "L", "r": "R", "right": "R"}
_TRUE = frozenset({"1", "1.0", "true", "yes", "y", "x", "t", "positive"})
_FALSE = frozenset({"0", "0.0", "false", "no", "n", "f", "negative"})
_EMPTY = frozenset(
    {"", "nan", "na", "n/a", "none", "null", "unknown", "removed", "?", "-", "<na>", "nat", "#n/a", "(null)"}
)


@dataclass(frozen=True)
class Conditions:
    """The conditions of one image. None is *unknown*, never a default."""

    view: str | None = None  #: "CC", "MLO", or another view as it stood in the source
    laterality: str | None = None  #: "L" or "R"
    age_years: int | None = None  #: 0 to 90; 90 means above 89
    age_bin: int | None = None  #: 0 to 3; known without ``age_years`` in prepared tables
    cancer: bool | None = None
    false_positive: bool | None = None

    def code(self, name: str) -> int:
        """Gives the integer code of a condition of :data:`CONDITIONS`; -1 where it is unknown."""
        value = getattr(self, name)
        if name == "view":
            return VIEWS.index(value) if value in VIEWS else UNKNOWN
        if name == "laterality":
            return LATERALITIES.index(value) if value in LATERALITIES else UNKNOWN
        return UNKNOWN if value is None else int(value)


def word_of(name: str, code: int) -> str:
    """Gives a condition's code as a person writes it: "CC", ">65", "yes"; empty where it is unknown."""
    return "" if code == UNKNOWN else _WORDS.get(name, ("no", "yes"))[code]


def age_bin_of(age_years: int) -> int:
    """Gives the bin 0 to 3 of an age in years: up to 45, 46-55, 56-65, above 65."""
    return sum(age_years > limit for limit in (45, 55, 65))


def is_empty(text: str) -> bool:
    """Says whether a cell states that the value is not known."""
    return text.strip().lower() in _EMPTY


def parse_view(text: str) -> str | None:
    """Reads a view: "CC", "MLO" or one of :data:`OTHER_VIEWS`. None where it is empty.

    Of a view with a prefix or suffix ("MCC", "CCID") the view alone: see :mod:`nlbs.manifests.kinds`.

    Raises:
        ValueError: the text is no view of a mammogram.
    """
    if is_empty(text):
        return None
    view = re.sub(r"[\s_.-]", "", text).upper()
    names = {"CRANIOCAUDAL": "CC", "MEDIOLATERALOBLIQUE": "MLO", "MEDIOLATERAL": "ML", "LATEROMEDIAL": "LM"}
    view = names.get(view, view)
    if view in VIEWS or view in OTHER_VIEWS:
        return view
    modified = view_and_kind(text)
    if modified is not None:
        return modified[0]
    raise ValueError(f"{text!r} is not a view (CC, MLO or {', '.join(OTHER_VIEWS)})")


def parse_laterality(text: str) -> str | None:
    """Reads a side: L, R, LEFT, right, ... None where it is empty.

    Raises:
        ValueError: the text names no side. "B" (both) is no side of an image either.
    """
    if is_empty(text):
        return None
    side = _SIDES.get(text.strip().lower())
    if side is None:
        raise ValueError(f"{text!r} is not a laterality (L, R, left, right)")
    return side


def parse_age(text: str) -> int | None:
    """Reads an age in completed years: "66", "61.7", or a DICOM age string (PS3.5 6.2, AS) as "066Y" or "018M".

    Age 0 is how anonymised files spell *unknown* ("000Y"): None, as is an empty cell.
    Ages above 89 become 90.

    Raises:
        ValueError: not an age, or not one between 0 and 120 years.
    """
    if is_empty(text):
        return None
    match = re.fullmatch(r"(\d{1,9})(?:\.\d*)?\s*([YMWD]?)", text.strip().upper())
    if match is None:
        raise ValueError(f"{text!r} is not an age in years (66, 61.0 or 066Y)")
    per_year = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[match[2]]
    years = int(match[1]) // per_year
    if years > 120:
        raise ValueError(f"an age of {years} years is not possible (1 to 120; 0 is read as unknown)")
    if int(match[1]) == 0:
        return None
    return min(years, OLDEST_AGE_YEARS + 1)


def parse_age_bin(text: str) -> int | None:
    """Reads an age bin: its code 0 to 3, or its name ("46-55", "<=45"). None where it is empty.

    Raises:
        ValueError: neither.
    """
    if is_empty(text):
        return None
    name = text.strip().replace("≤", "<=").replace("–", "-").replace(" ", "")
    if name in AGE_BINS:
        return AGE_BINS.index(name)
    code = re.sub(r"\.0*$", "", name)
    if code in {"0", "1", "2", "3"}:
        return int(code)
    raise ValueError(f"{text!r} is not an age bin (0 to 3, or one of {', '.join(AGE_BINS)})")


def parse_flag(text: str) -> bool | None:
    """Reads yes or no: 0/1, True/False, yes/no, X. None where it is empty.

    Raises:
        ValueError: none of these.
    """
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if is_empty(text):
        return None
    raise ValueError(f"{text!r} is neither yes nor no (1, 0, true, false, yes, no)")
