"""The documentation: its lists come from the code, its links hold, and the README stays a page that one reads."""

import dataclasses
import importlib.util
import re
from pathlib import Path
from typing import Any

from nlbs.models import registry
from nlbs.preprocess.report.page_images import REMEDIES
from nlbs.train.config import preset
from tests.conftest import some

ROOT = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "_ext" / "reference.py")
assert _SPEC is not None
assert _SPEC.loader is not None
reference: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)


def test_every_key_of_every_preset_is_a_row_with_words() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.+?) \|", reference.key_tables(), re.MULTILINE))

    def keys(section: Any, place: str) -> set[str]:
        below = {f"{place}{key.name}": getattr(section, key.name) for key in dataclasses.fields(section)}
        return set(below).union(*(keys(v, f"{k}.") for k, v in below.items() if dataclasses.is_dataclass(v)))

    for name in some([name for family in registry.names() for name in registry.family(family).presets]):
        config = preset(name)
        expected = {key for key in keys(config, "") if "." in key}
        assert expected - set(rows) == set(), name
    assert rows["data.fit"] == "`downsample`, `crop`"
    assert rows["training.max_steps"] == "whole number, at least 1 or `null`"
    assert rows["training.augment"] == "a section"


def test_the_comment_of_a_key_is_its_words() -> None:
    text = reference.key_tables()
    assert (
        "| `data.balance_power` | number, at least 0, at most 1 | `0.5` | 0: as they occur; 1: classes alike |"
        in text
    )
    # Of a comment above the field, in two lines.
    assert re.search(
        r"`training.condition_stages` .* How many conditions are told .* `\[\]`: all are told", text
    )


def test_every_preset_and_every_status_has_a_row() -> None:
    presets = re.findall(r"^\| `([\w-]+)` \|", reference.preset_table(), re.MULTILINE)
    assert presets == [name for family in registry.names() for name in registry.family(family).presets]
    remedies = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", reference.status_table(), re.MULTILINE)
    assert {status: words.replace("`", "") for status, words in remedies} == REMEDIES


def test_links_lead_to_pages_and_of_others_the_words_stay() -> None:
    text = "[a](../manifests/README.md#kinds) [b](https://x.org) [c](#d) [`e`](train/loop.py) [f](../docs/zoo.md)"
    moved = reference.relinked(text, "shards/README.md", "docs/reference/formats.md")
    assert moved == "[a](tables.md#kinds) [b](https://x.org) [c](#d) `e` [f](../zoo.md)"


def test_links_of_the_texts_lead_to_files_that_are_there() -> None:
    texts = [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("[a-z]*/README.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
    links = [
        (path, target)
        for path in texts
        if "_build" not in path.parts
        for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", path.read_text("utf-8"))
    ]
    assert len(links) > 100
    assert [link for link in links if not (link[0].parent / link[1]).exists()] == []


def test_the_readme_is_short_and_its_picture_is_small() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", text)
    assert (ROOT / picture).stat().st_size < 200_000
