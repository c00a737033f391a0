"""Sphinx extension: what the code lists becomes a table, and references beside the code become pages.

A page says ``<!-- list: presets -->`` or ``<!-- file: shards/README.md -->`` where that is to stand. Links of all files
are written as they hold in the repository, so that they can be followed there too; here they lead to pages.
"""

import ast
import dataclasses
import inspect
import io
import json
import os
import re
import tokenize
import typing
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from nlbs.models import registry
from nlbs.models.stages.stage import stages
from nlbs.preprocess.report.page_images import REMEDIES
from nlbs.train.config import DataConfig, TrainingConfig, preset

ROOT = Path(__file__).parents[2]
#: File of the repository -> the page that shows it.
PAGES = {
    "README.md": "docs/index.md",
    "shards/README.md": "docs/reference/formats.md",
    "manifests/README.md": "docs/reference/tables.md",
    "benchmarks/README.md": "docs/reference/benchmarks.md",
    "CHANGELOG.md": "docs/reference/changelog.md",
    "CONTRIBUTING.md": "docs/explanation/contributing.md",
    "SECURITY.md": "docs/explanation/security.md",
}
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_WORDS = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text", Any: "of the family"}
_A_SLIP = 1e5  #: bounds above it are there against slips, and tell a reader nothing
_BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def relinked(text: str, source: str, page: str) -> str:
    """Return Markdown with its links as they hold on a page; of a link to what no page shows, its words alone.

    Args:
        text: as it stands in the file ``source``.
        source, page: paths from the root of the repository, such as "shards/README.md".
    """

    def one(found: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(source).parent / found[2])
        target = PAGES.get(target, target)
        if not target.startswith("docs/"):
            return found[1]
        return f"[{found[1]}]({os.path.relpath(target, PurePosixPath(page).parent)}{found[3] or ''})"

    return _LINK.sub(one, text)


def status_table() -> str:
    """Return what each status of an image means, and its remedy, which the reports say in the same words."""
    text = (ROOT / "shards" / "README.md").read_text("utf-8")
    meanings = dict(
        re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", text.split("| `status` is |")[1], re.MULTILINE)
    )
    options = re.compile(r"--[a-z-]+")
    rows = [
        (f"`{status}`", meanings[status], options.sub(r"`\g<0>`", remedy))
        for status, remedy in REMEDIES.items()
    ]
    return table(("status", "what happened", "what to do"), rows)


def preset_table() -> str:
    """Return the presets of all families, with what a person chooses them by."""
    rows = []
    for family in map(registry.family, registry.names()):
        for name in family.presets:
            config = preset(name)
            fitted = ", ".join(stage.words for stage, _ in config.stages) or "–"
            size, training = config.data, config.training
            row = (f"`{name}`", family.title, f"{size.resolution}²", size.batch_size, training.epochs, fitted)
            rows.append(row)
    return table(("preset", "what it is", "images", "batch", "epochs", "stages"), rows)


def key_tables() -> str:
    """Return the keys of a run's YAML, section by section, from the dataclasses that read it."""
    parts = [("`data`", DataConfig, "data."), ("`training`", TrainingConfig, "training.")]
    parts += [(f"`{stage.section}`", stage.options, f"{stage.section}.") for stage in stages()]
    for family in map(registry.family, registry.names()):
        presets = ", ".join(f"`{name}`" for name in family.presets)
        parts.append((f"`model` of {family.name}: {presets}", family.options, "model."))
        if dataclasses.fields(family.loss):
            parts.append((f"`training.loss` of {family.name}", family.loss, "training.loss."))
    titles = ("key", "value", "default", "what it is")
    return "\n\n".join(f"## {title}\n\n{table(titles, keys(kind, place))}" for title, kind, place in parts)


def keys(kind: Any, place: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield each key of a dataclass with its values, default and comment; sections in it follow as ``place.key``."""
    hints, said = typing.get_type_hints(kind, include_extras=True), comments(kind)
    for field in dataclasses.fields(kind):
        hint, default = hints[field.name], ""
        section = next(
            (part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)), None
        )
        if section is None and field.default is not dataclasses.MISSING:
            default = f"`{json.dumps(field.default)}`"
        elif section is not None and field.default is None:
            default = "`null`"
        yield (
            f"`{place}{field.name}`",
            "a section" if section else words(hint),
            default,
            said.get(field.name, ""),
        )
        if section:
            yield from keys(section, f"{place}{field.name}.")


def comments(kind: type) -> dict[str, str]:
    """Return what the comments above and beside the fields of a dataclass say, those of its bases too."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            source = inspect.cleandoc("\n" + inspect.getsource(base)) + "\n"
        except (OSError, TypeError):
            continue
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        notes = {
            token.start[0]: token.string.lstrip("#: ") for token in tokens if token.type == tokenize.COMMENT
        }
        alone = {line for line in notes if source.splitlines()[line - 1].lstrip().startswith("#")}
        for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                first = node.lineno
                while first - 1 in alone:
                    first -= 1
                lines = range(first, (node.end_lineno or first) + 1)
                said = " ".join(notes[line] for line in lines if line in notes)
                found[node.target.id] = re.sub(r"\b(None|none)(?=: )", "`null`", said).replace(
                    "(): ", "`[]`: "
                )
    return found


def words(hint: Any) -> str:
    """Return in words which values a type takes."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is NoneType:
        return "`null`"
    if origin is Annotated:
        bounds = [
            (name, getattr(mark, name))
            for info in parts[1:]
            for mark in info.metadata
            for name in _BOUNDS
            if hasattr(mark, name) and getattr(mark, name) < _A_SLIP
        ]
        return ", ".join([words(parts[0]), *(_BOUNDS[name].format(f"{value:,g}") for name, value in bounds)])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(words(part) for part in parts)
    if origin is tuple:
        return f"list of: {words(parts[0])}" if parts[-1] is ... else f"{len(parts)} of: {words(parts[0])}"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def table(titles: tuple[str, ...], rows: Any) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


LISTS = {"statuses": status_table, "presets": preset_table, "keys": key_tables}


def filled(text: str, page: str) -> str:
    """Return the Markdown of a page with its lists and files in their places, and links that lead to pages."""
    text = relinked(text, page, page)
    text = re.sub(r"<!-- list: (\w+) -->", lambda found: LISTS[found[1]](), text)
    return re.sub(
        r"<!-- file: (\S+) -->",
        lambda found: relinked((ROOT / found[1]).read_text("utf-8"), found[1], page),
        text,
    )


def _read(app: Any, docname: str, content: list[str]) -> None:
    content[0] = filled(content[0], f"docs/{docname}.md")


def _sentence(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    # Napoleon takes what stands before a colon there for a type.
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(": ", " – ")


def setup(app: Any) -> dict[str, bool]:
    """Have every page filled as it is read."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _sentence, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
