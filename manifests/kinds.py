"""What kind of image a mammogram is: a standard view, or one of those that look like one in a table and are none."""

import difflib
import re

from nlbs.errors import ConfigError

KINDS = {
    "standard": "a whole view, for presentation",
    "unknown": "an image of which nothing says what kind it is",
    "for_processing": "a raw image for processing, not for presentation",
    "magnified": "a magnification view",
    "spot": "a spot compression view",
    "implant_displaced": "a view with the implant displaced",
    "specimen": "an image of a specimen",
    "biopsy": "an image of a biopsy or localisation",
    "synthetic_2d": "a 2D image that was computed from tomosynthesis",
    "tomosynthesis": "a slice or a projection of tomosynthesis",
    "contrast": "a recombined or high-energy image of contrast-enhanced mammography",
    "region": "a region that was cut out of an image, or its mask",
    "secondary_capture": "a secondary capture, such as a screenshot",
    "quality_control": "an image of a test object, for quality control",
    "other_modality": "an image of another modality",
}
#: What ``--kinds standard`` takes: where nothing is stated, an image is taken for what its table calls it.
STANDARD_KINDS = ("standard", "unknown")

#: Prefixes and suffixes of a view by ACR MQCM 1999, and what they make of it (PS3.16 CID 4015, PS3.3 C.8.11.7.1.4).
_VIEW_PARTS = re.compile(
    r"(?P<prefix>SM|MS|M|S|)(?P<view>CC|MLO|ML|LMO|LM|XCCL|XCCM|FB|SIO|ISO|AT|CV|TAN)"
    r"(?P<rolled>RL|RM|RI|RS|)(?P<suffix>ID|SC|ST|PRF|POF|POB|POM|)"
)
#: Words that stand beside a view, or alone.
_WORDS = {
    **dict.fromkeys(("MAG", "MAGNIFIED", "MAGNIFICATION"), "magnified"),
    **dict.fromkeys(("SPOT", "COMPRESSION"), "spot"),
    **dict.fromkeys(("ID", "IMPLANT", "DISPLACED", "EKLUND"), "implant_displaced"),
    **dict.fromkeys(("SPECIMEN",), "specimen"),
    **dict.fromkeys(("STEREO", "STEREOTACTIC", "BIOPSY"), "biopsy"),
    **dict.fromkeys(("CVIEW", "SYNTHETIC"), "synthetic_2d"),
    **dict.fromkeys(("TOMO", "DBT"), "tomosynthesis"),
}
_SUFFIXES = {"": None, "ID": "implant_displaced"}


def parse_kinds(text: str, frame: bool = False) -> tuple[str, ...]:
    """Read ``--kinds``: "standard", "all", or names of :data:`KINDS` with commas.

    Args:
        text: the option.
        frame: whether one frame of tomosynthesis is asked for, which then is as good as a standard view.

    Raises:
        ConfigError: a kind that there is not, or none.
    """
    names = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return tuple(KINDS)
    strange = [name for name in names if name not in KINDS]
    if strange or not names:
        near = difflib.get_close_matches(strange[0], [*KINDS, "all"], n=1, cutoff=0.5) if strange else []
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(f"--kinds {text!r}: expected all, or some of {', '.join(KINDS)}{hint}")
    more = (*STANDARD_KINDS, *(["tomosynthesis"] if frame else [])) if "standard" in names else ()
    chosen = {*names, *more}
    return tuple(kind for kind in KINDS if kind in chosen)


def view_and_kind(text: str) -> tuple[str | None, str | None] | None:
    """Return the view and the kind that a view with a prefix, a suffix or a word means; None where it has none.

    "MCC" and "CC mag" are a magnified CC, "SMLO" a spot view, "CCID" one with the implant displaced, "specimen" is
    no view at all, "CCRL" a rolled CC, which is of no other kind.
    """
    words = re.split(r"[\s_.,/+-]+", text.strip().upper().replace("C-VIEW", "CVIEW"))
    named = [_WORDS[word] for word in words if word in _WORDS]
    rest = [word for word in words if word not in _WORDS]
    if named and len(rest) <= 1:
        whole = _VIEW_PARTS.fullmatch(rest[0]) if rest else None
        if whole is not None or not rest:
            return (whole["view"] if whole else None), named[0] if "magnified" not in named else "magnified"
    match = _VIEW_PARTS.fullmatch(re.sub(r"[\s_.+-]", "", text).upper())
    if match is None or not (match["prefix"] or match["rolled"] or match["suffix"]):
        return None
    if match["suffix"] not in _SUFFIXES:
        kind: str | None = "biopsy"
    elif match["prefix"]:
        kind = "magnified" if "M" in match["prefix"] else "spot"
    else:
        kind = _SUFFIXES[match["suffix"]]
    return match["view"], kind


def parse_kind(text: str) -> str | None:
    """Read a cell that names a kind; None where it is empty.

    Raises:
        ValueError: it names none of :data:`KINDS`.
    """
    name = re.sub(r"[\s-]+", "_", text.strip().lower())
    if name in ("", "nan", "unknown"):
        return None
    if name not in KINDS:
        raise ValueError(f"{text!r} is none of {', '.join(KINDS)}")
    return name


def united_kind(table: str | None, header: str | None) -> str:
    """Return the kind of an image from what its table and its header say; None is nothing.

    What either calls no standard view is none, the table's word first. A secondary capture that the table
    calls standard is the film that its dataset digitised.
    """
    if table == "spot" and header == "magnified":  # of EMBED, which has one word for both
        return "magnified"
    if table not in (None, "standard"):
        return table or "unknown"
    if table == "standard" and header in (None, "unknown", "secondary_capture"):
        return "standard"
    return header or "unknown"
