"""What an evaluation leaves: report.json for programs, and one page for people."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from nlbs.card import Parts, cell
from nlbs.evaluate.measures.intervals import Interval
from nlbs.files import atomic_file, make_folder, write_json
from nlbs.models.card import audited
from nlbs.pictures import html_page, picture_uri
from nlbs.text import printable

FORMAT, FORMAT_VERSION = "nlbs-evaluation", 1

_MOST_CHARS = 500  #: of one text


@dataclass(frozen=True)
class Table:
    """A table of the page. What is no text is written as :func:`shown` does."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture of the page with the words below it."""

    uri: Markup
    caption: str


@dataclass
class Section:
    """One part of the report."""

    name: str  #: its key in report.json
    title: str
    lead: list[str] = field(default_factory=list)  #: what is measured, and how to read it
    figures: dict[str, Any] = field(default_factory=dict)  #: for report.json
    tables: list[Table] = field(default_factory=list)
    pictures: list[tuple[str, list[Picture]]] = field(default_factory=list)  #: groups with a title each
    attention: list[str] = field(default_factory=list)  #: what stands at the top of the page too
    skipped: str = ""  #: why nothing was measured


def picture(image: npt.NDArray[np.uint8], caption: str, most_px: int = 1200) -> Picture:
    """Return a picture of uint8 pixels, (H, W) grey or (H, W, 3) RGB."""
    return Picture(picture_uri(image, most_px), caption)


def write_report(folder: Path, name: str, head: Mapping[str, Any], sections: Sequence[Section]) -> list[Path]:
    """Write ``name.html`` and ``name.json`` into a folder; other files in it stay.

    Args:
        folder: made where it is missing.
        name: of both files.
        head: title, and the rows of "how it was made": label -> value.
        sections: in their order.

    Returns:
        The page and the JSON file, which is written last.
    """
    make_folder(folder)
    page, values = folder / f"{name}.html", folder / f"{name}.json"
    with atomic_file(page, "w", encoding="utf-8", newline="\n") as file:
        file.write(render(head, sections))
    write_json(values, as_values(head, sections))
    return [page, values]


def as_values(head: Mapping[str, Any], sections: Sequence[Section]) -> dict[str, Any]:
    """Return the report as JSON values: null is a figure that is not known."""
    found = {
        section.name: {"skipped": section.skipped} if section.skipped else plain(section.figures)
        for section in sections
    }
    attention = [sentence for section in sections for sentence in section.attention]
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "made": plain(head["made"]),
        "attention": attention,
        "sections": found,
    }


def render(head: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """Return the page as HTML, complete in itself. Every text is escaped, and cut off where it is absurdly long."""
    return html_page("nlbs.evaluate", shown, head=head, sections=sections)


def as_card(section: Section, how: Mapping[str, str]) -> Parts:
    """Return a section as a model card has it: its tables, and for memorisation the verdict first, with its warnings.

    Args:
        section: of the report.
        how: it was measured.
    """
    if section.skipped:
        return {"": "Not measurable on these patches."}
    copies = section.figures.get("copies")
    warnings = " ".join(cell(sentence) for sentence in section.attention)
    verdict: Parts = {} if copies is None else {"": f"{audited(copies['verdict'])} {warnings}".strip()}
    tables = {
        table.title: [list(table.header), *([shown(value) for value in row] for row in table.rows)]
        for table in section.tables
    }
    return {**verdict, "How it was measured": how, **tables}


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses as objects, what is not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def shown(value: Any) -> Any:
    """Return a value as a person reads it: three digits, an interval in brackets, a dash for what is not known."""
    if isinstance(value, Markup):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, Interval):
        if value.low is None or value.high is None:
            return f"{shown(value.value)} (no interval)"
        return f"{shown(value.value)} [{shown(value.low)}, {shown(value.high)}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return _number(float(value))
    text = str(value)
    cut = text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}... ({len(text):,} characters)"
    return printable(cut, keep="\n\t")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "infinite"
    if abs(value) < 1e-12:  # what rounding leaves of zero
        return "0.000"
    if not 0.001 <= abs(value) < 10_000:
        return f"{value:.2e}"
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}"
