"""Conditions in words and as codes: what flags, tables and captions say of a patch."""

from collections.abc import Mapping

from nlbs.manifests.conditions import (
    AGE_BINS,
    CONDITIONS,
    LATERALITIES,
    UNKNOWN,
    VIEWS,
    age_bin_of,
    is_empty,
    parse_age,
    parse_age_bin,
    parse_flag,
    parse_laterality,
    parse_view,
    side_and_view,
    word_of,
)

#: What may be said of a condition; "age" stands for the bin it falls into.
EXPECTED = {
    "view": "CC or MLO",
    "laterality": "L or R",
    "age": "years from 1 to 120",
    "age_bin": f"one of {', '.join(AGE_BINS)}, or its code 0 to 3",
    "cancer": "yes or no",
    "false_positive": "yes or no",
}


def code_of(name: str, text: str) -> int:
    """Return the code of a condition as a person writes it; -1 for "unknown" or nothing.

    Args:
        name: a name of :data:`EXPECTED`; "age" gives the code of its bin.
        text: what is said of it.

    Raises:
        ValueError: nothing that the condition can be.
    """
    if is_empty(text):
        return UNKNOWN
    if name == "age":
        years = parse_age(text)
        if years is None:
            raise ValueError(f"{text!r} is no age in years from 1 to 120")
        return age_bin_of(years)
    if name == "view":
        return _view_code(text)
    if name == "laterality":
        return LATERALITIES.index(str(parse_laterality(text)))
    if name == "age_bin":
        return int(parse_age_bin(text) or 0)
    return int(bool(parse_flag(text)))


def codes_of(text: str) -> dict[str, int]:
    """Return the codes of conditions written as "view=CC,age=66,cancer=yes"; those not named are unknown.

    Raises:
        ValueError: a name that is none, one that is said twice, or a value that is none.
    """
    codes = dict.fromkeys(CONDITIONS, UNKNOWN)
    said: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        name = name.strip().lower().replace("-", "_")
        if not equals or name not in EXPECTED:
            raise ValueError(f"{part!r} is none of {', '.join(f'{known}=...' for known in EXPECTED)}")
        target = "age_bin" if name == "age" else name
        if target in said:
            raise ValueError(f"{target.replace('_', ' ')} is said twice in {text!r}")
        said.add(target)
        codes[target] = code_of(name, value.strip())
    return codes


def in_words(codes: Mapping[str, int]) -> dict[str, str]:
    """Return each condition as a person writes it; empty where it is unknown."""
    return {name: word_of(name, int(codes[name])) for name in CONDITIONS}


def caption(words: Mapping[str, str]) -> str:
    """Return the conditions in two lines for below a picture; what is unknown has a question mark."""
    place = (f"{words['view'] or 'view?'} {words['laterality'] or 'side?'} {words['age_bin'] or 'age?'}",)
    if "cancer" not in words:  # not to be told
        return place[0]
    flags = {name: words[name] for name in ("cancer", "false_positive")}
    if set(flags.values()) == {"no"}:
        return f"{place[0]}\nnormal"
    # Beside what is unknown a "no" is no matter of course; beside a "yes" it is: a patch has one of the two.
    shown = {"yes": "{}", "": "{}?"} | ({} if "yes" in flags.values() else {"no": "no {}"})
    said = [shown[word].format(name.replace("_", " ")) for name, word in flags.items() if word in shown]
    return f"{place[0]}\n{', '.join(said)}"


def _view_code(text: str) -> int:
    """Return the code of a view. Raises ValueError: it is none that a model knows, or says a side as well."""
    expected = f"expected {' or '.join(VIEWS)}"
    if side_and_view(text) is not None:
        raise ValueError(f"{text!r} is a view and a side: {expected}, and the side as laterality")
    try:
        view = parse_view(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a view: {expected}") from None
    if view not in VIEWS:
        raise ValueError(f"a model knows {' and '.join(VIEWS)}, not {view}")
    return VIEWS.index(view)
