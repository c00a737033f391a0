"""What is known about an image: view, side, age, cancer, false positive; unknown stays unknown."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from nlbs.manifests.kinds import view_and_kind

UNKNOWN = -1  #: the integer code of an unknown condition in batches; on disk it is null

#: The views that condition a model, in the order of their codes.
VIEWS = ("CC", "MLO")
#: Sides of the patient, in the order of their codes.
LATERALITIES = ("L", "R")
#: Age bins in years, in the order of their codes; the NLBS dataset's own.
AGE_BINS = ("<=45", "46-55", "56-65", ">65")
#: Ages above this are recorded as one more: PS3.15 E.3.6 and HIPAA call them identifying.
OLDEST_AGE_YEARS = 89

#: Views beside CC and MLO that are kept as they are: a model sees them as unknown, never as MLO.
OTHER_VIEWS = ("ML", "LM", "LMO", "XCCL", "XCCM", "CV", "AT", "FB", "SIO", "ISO", "TAN", "RL", "RM")

#: Words of one meaning in every language that has them, as tables of other countries write them.
_SIDES = {
    **dict.fromkeys(
        ("l", "l.", "lt", "left", "links", "linke", "gauche", "izquierda", "izquierdo", "esquerda", "esquerdo",
         "sinistra", "sinistro", "vänster", "左"),
        "L",
    ),
    **dict.fromkeys(
        ("r", "r.", "rt", "right", "rechts", "rechte", "droite", "droit", "derecha", "derecho", "direita", "direito",
         "destra", "destro", "höger", "右"),
        "R",
    ),
}  # fmt: skip
_TRUE = frozenset(
    {"1", "true", "yes", "y", "x", "t", "positive", "pos", "+", "ja", "oui", "sí", "si", "sì", "sim", "wahr", "vrai",
     "vero", "verdadero", "是", "阳性"}
)  # fmt: skip
_FALSE = frozenset(
    {"0", "false", "no", "n", "f", "negative", "neg", "nein", "nee", "nej", "non", "não", "nao", "falsch", "faux",
     "falso", "否", "阴性"}
)  # fmt: skip
_CANCER = {
    **dict.fromkeys(("malignant", "malign", "cancer", "carcinoma"), True),
    **dict.fromkeys(
        ("benign", "benign_without_callback", "benign without callback", "normal", "healthy"), False
    ),
}
_EMPTY = frozenset(
    {"", "nan", "na", "n/a", "n.a.", "none", "null", "unknown", "removed", "?", "-", "--", "---", ".", "<na>", "nat",
     "#n/a", "(null)", "(blank)", "not available", "not known"}
)  # fmt: skip
_AGE = re.compile(
    r"(?P<least>>|>=|≥)?\s*(?P<number>\d{1,9})(?:\.\d*)?\s*(?P<more>\+)?\s*"
    r"(?P<unit>[YMWD]?|Y(?:EA)?RS?\.?|YEARS? OLD|Y\.?O\.?|JAHRE?|ANS|AÑOS?|ANNI|ANOS?|JAAR|ÅR|岁|歳"
    r"|MONTHS?|WEEKS?|DAYS?)"
)
#: A view with its side before it ("LCC", "L-CC", "left MLO") or, behind a separator, after it ("CC_L").
_SIDED = tuple(
    re.compile(form)
    for side in ("LEFT|RIGHT", "LT|RT", "L|R")
    for form in (rf"(?P<side>{side})[\s_.-]*(?P<view>\S.*)", rf"(?P<view>.*[^\s_.-])[\s_.-]+(?P<side>{side})")
)


def age_bin_of(age_years: int) -> int:
    """Return the bin 0 to 3 of an age in years: up to 45, 46-55, 56-65, above 65."""
    return sum(age_years > limit for limit in (45, 55, 65))


def is_empty(text: str) -> bool:
    """Return whether a cell states that the value is not known."""
    return text.strip().lower() in _EMPTY


def parse_view(text: str) -> str | None:
    """Read a view: "CC", "MLO" or one of :data:`OTHER_VIEWS`. None where it is empty.

    Of a view with a prefix or suffix ("MCC", "CCID") the view alone: see :mod:`nlbs.manifests.kinds`; of one with a
    side ("LCC", "L-MLO") too: see :func:`side_and_view`.

    Raises:
        ValueError: the text is no view of a mammogram.
    """
    if is_empty(text):
        return None
    view = _view(text)
    if view is not None:
        return view[0]
    sided = side_and_view(text)
    if sided is not None:
        return parse_view(sided[1])
    raise ValueError(f"{text!r} is not a view (CC, MLO or {', '.join(OTHER_VIEWS)})")


def side_and_view(text: str) -> tuple[str, str] | None:
    """Return the side, and the text of the view, of a cell that says both: "LCC", "L-CC", "LEFT_MLO", "CC R".

    None where it is a view as it stands ("LM", "RL"), or where no view is left without the side.
    """
    if _view(text) is not None:
        return None
    for form in _SIDED:
        match = form.fullmatch(text.strip().upper())
        if match is not None and _view(match["view"]) is not None:
            return match["side"][0], match["view"]
    return None


def _view(text: str) -> tuple[str | None] | None:
    """Return the view that a text without a side says, None in it where it says a kind alone; None where neither."""
    view = re.sub(r"[\s_.-]", "", text).upper()
    names = {"CRANIOCAUDAL": "CC", "MEDIOLATERALOBLIQUE": "MLO", "MEDIOLATERAL": "ML", "LATEROMEDIAL": "LM"}
    view = names.get(view, view)
    if view in VIEWS or view in OTHER_VIEWS:
        return (view,)
    modified = view_and_kind(text)
    return None if modified is None else (modified[0],)


def parse_laterality(text: str) -> str | None:
    """Read a side: L, R, LEFT, right, links, gauche, ..., alone or with a view ("LCC"). None where it is empty.

    Raises:
        ValueError: the text names no side. "B" (both) is no side of an image either.
    """
    if is_empty(text):
        return None
    side = _SIDES.get(re.sub(r"[\s_-]+breast$", "", text.strip().lower()))
    sided = None if side is not None else side_and_view(text)
    if sided is not None:
        return sided[0]
    if side is None:
        raise ValueError(f"{text!r} is not a laterality (L, R, left, right)")
    return side


def parse_age(text: str) -> int | None:
    """Read an age in completed years: "66", "61.7", "66 years", or a DICOM age string (PS3.5 6.2, AS) as "066Y".

    Age 0 is how anonymised files spell *unknown* ("000Y"): None, as is an empty cell.
    Ages above 89 become 90, and so do ">89" and "90+", as such tables write them.

    Raises:
        ValueError: not an age, or not one between 0 and 120 years.
    """
    if is_empty(text):
        return None
    match = _AGE.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(f"{text!r} is not an age in years (66, 61.0 or 066Y)")
    number, unit = int(match["number"]), match["unit"][:1]
    # Of "90+" and ">89" no more is to be known; "60+" is no age.
    least = number + (match["least"] == ">")
    if (match["least"] or match["more"]) and (least <= OLDEST_AGE_YEARS or unit in ("M", "W", "D")):
        raise ValueError(f"{text!r} is not an age in years, but a bound")
    years = number // {"M": 12, "W": 52, "D": 365}.get(unit, 1)
    if years > 120:
        raise ValueError(f"an age of {years} years is not possible (1 to 120; 0 is read as unknown)")
    if number == 0:
        return None
    return min(years if match["least"] is None else least, OLDEST_AGE_YEARS + 1)


def parse_age_bin(text: str) -> int | None:
    """Read an age bin: its code 0 to 3, or its name ("46-55", "<=45"). None where it is empty.

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
    """Read yes or no: 0/1, True/False, yes/no, X, and yes and no of other languages. None where it is empty.

    Raises:
        ValueError: none of these.
    """
    word = re.sub(r"(?<=^[01])\.0*$", "", text.strip().lower())
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if is_empty(text):
        return None
    raise ValueError(f"{text!r} is neither yes nor no (1, 0, true, false, yes, no)")


def parse_cancer(text: str) -> bool | None:
    """Read whether there is cancer: as :func:`parse_flag`, or "malignant", "benign", "normal". None where it is empty.

    Raises:
        ValueError: none of these.
    """
    known = _CANCER.get(text.strip().lower())
    return parse_flag(text) if known is None else known


def _read_by(parser: Callable[[str], Any]) -> Any:
    """Return a field that is unknown where nothing is said, and read from the tables of datasets by a parser."""
    return field(default=None, metadata={"parser": parser})


@dataclass(frozen=True)
class Conditions:
    """The conditions of one image. None is *unknown*, never a default."""

    view: str | None = _read_by(parse_view)  #: "CC", "MLO", or another view as it stood in the source
    laterality: str | None = _read_by(parse_laterality)  #: "L" or "R"
    age_years: int | None = _read_by(parse_age)  #: 0 to 90; 90 means above 89
    age_bin: int | None = _read_by(parse_age_bin)  #: 0 to 3; known without ``age_years`` in prepared tables
    cancer: bool | None = _read_by(parse_cancer)
    false_positive: bool | None = _read_by(parse_flag)

    def cells(self) -> dict[str, str | int | None]:
        """Return the conditions as tables and manifests hold them: flags as 0 and 1, None where unknown."""
        return {name: int(value) if isinstance(value, bool) else value for name, value in vars(self).items()}

    @classmethod
    def of_cells(cls, cells: Mapping[str, str]) -> "Conditions":
        """Return the conditions that a table holds as text, as :meth:`cells` gave them; an empty cell is unknown."""
        read: dict[Any, Callable[[str], Any]] = {
            str | None: str,
            int | None: int,
            bool | None: lambda t: bool(int(t)),
        }
        return cls(**{f.name: read[f.type](cells[f.name]) for f in fields(cls) if cells[f.name]})


#: How tables of datasets write each condition.
PARSERS: dict[str, Callable[[str], Any]] = {f.name: f.metadata["parser"] for f in fields(Conditions)}
