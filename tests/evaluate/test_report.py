"""report.json and the page, which a browser opens without any network."""

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from nlbs.evaluate.measures.intervals import Interval
from nlbs.evaluate.report import Section, Table, picture, plain, render, shown, write_report

HOSTILE = "<script>alert('x')</script> & \"quoted\""
VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Finds tags that are not closed, and every address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def example() -> tuple[dict[str, object], list[Section]]:
    section = Section(
        "control", f"Control {HOSTILE}", [f"lead {HOSTILE}"], {"ratio": Interval(0.5, None, None, 0.95, 1)}
    )
    section.tables.append(Table(HOSTILE, ["a", HOSTILE], [(HOSTILE, 1.25)], HOSTILE))
    section.pictures.append((HOSTILE, [picture(np.zeros((4, 4), np.uint8), HOSTILE)]))
    section.attention.append(f"look {HOSTILE}")
    head = {
        "title": f"runs/{HOSTILE}",
        "note": HOSTILE,
        "made": {"checkpoint": HOSTILE, "steps": 1200, "x": None},
    }
    return head, [section, Section("utility", "Utility", skipped="too few patients")]


def test_the_page_is_whole_escaped_and_fetches_nothing() -> None:
    page = render(*example())
    found = Balanced(page)
    assert found.open == []
    assert "script" not in found.tags
    assert found.text.count("alert('x')") >= 9
    assert all(re.match(r"data:image/png;base64,|#", address) for address in found.addresses)
    assert "http" not in page.replace("http-equiv", "")
    assert "Left out: too few patients" in found.text


def test_figures_are_json_with_null_for_what_is_not_known(tmp_path: Path) -> None:
    page, values = write_report(tmp_path / "new", "report", *example())
    found = json.loads(values.read_text())
    assert page.name == "report.html"
    assert found["format"] == "nlbs-evaluation" and found["format_version"] == 1
    ratio = {"value": 0.5, "low": None, "high": None, "level": 0.95, "groups": 1}
    assert found["sections"]["control"] == {"ratio": ratio}
    assert found["sections"]["utility"] == {"skipped": "too few patients"}
    assert found["attention"] == [f"look {HOSTILE}"]


def test_what_is_not_finite_becomes_null_and_arrays_become_lists() -> None:
    @dataclass(frozen=True)
    class Pair:
        one: float
        other: object

    value = {"a": Pair(float("nan"), np.array([1.5, np.inf])), 3: (np.int64(2), np.bool_(True), "text", None)}
    assert plain(value) == {"a": {"one": None, "other": [1.5, None]}, "3": [2, True, "text", None]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Interval(0.8123, 0.7, 0.9, 0.95, 9), "0.812 [0.700, 0.900]"),
        (Interval(0.8123, None, None, 0.95, 1), "0.812 (no interval)"),
        (None, "–"), (float("nan"), "–"), (float("inf"), "infinite"), (True, "yes"), (12345, "12,345"),
        (0.00012, "1.20e-04"), (0.0, "0.000"), (33.333, "33.3"), (4321.0, "4,321"),
        ("x" * 600, "x" * 500 + "... (600 characters)"),
    ],
)  # fmt: skip
def test_values_are_written_for_people(value: object, text: str) -> None:
    assert shown(value) == text
