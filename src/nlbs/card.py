"""A card: README.md of a model or a shard set, which programs write together with a person.

What the programs know stands in blocks between marks. What stands outside of them is the person's, and is kept; so is a
block that was taken out, and a README.md without any. Nothing in a card identifies anybody: no path, no key, no image.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nlbs.errors import ConfigError
from nlbs.files import atomic_file
from nlbs.paths import AnyPath
from nlbs.stores import store_of
from nlbs.text import printable, shown

CARD = "README.md"
UNKNOWN_LICENCE = "unknown"

#: A paragraph, a table of names and values, or one whose first row is its header.
Part = str | Mapping[str, object] | Sequence[Sequence[object]]
#: Heading -> what stands below it; "": no heading.
Parts = Mapping[str, Part]

_MOST_BYTES = 4 << 20
_END = "<!-- nlbs-cvae: end -->"
_BLOCK = re.compile(
    r"(?P<begin><!-- nlbs-cvae: (?P<name>\w+) -->\r?\n)(?P<body>(?:(?!<!-- nlbs-cvae:).)*)" + re.escape(_END),
    re.DOTALL,
)
_LICENCE = re.compile(r"\A---\r?\n(?:(?!---).*\n)*?licen[sc]e:[ \t]*([^\s#]+)")


@dataclass(frozen=True)
class About:
    """What a person says of a shard set; None: what its card says, or that of another set of its root."""

    licence: str | None = None  #: an identifier of SPDX or the Hugging Face hub
    name: str | None = None  #: of the dataset

    def __post_init__(self) -> None:
        """Raise ConfigError where the licence is none that a card can name, or the name is empty."""
        if self.licence is not None and not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,63}", self.licence, re.ASCII):
            raise ConfigError(
                f"--license {shown(self.licence)}: expected an identifier of SPDX or Hugging Face, such as cc-by-4.0 "
                "or other"
            )
        if self.name is not None and not 0 < len(self.name.strip()) <= 200:
            raise ConfigError(f"--name {shown(self.name)}: expected up to 200 characters")


def read_card(folder: AnyPath) -> str | None:
    """Return the text of the README.md in a folder; None where there is none that can be read."""
    try:
        return store_of(folder).read(folder / CARD, _MOST_BYTES).decode("utf-8")
    except (OSError, ValueError):
        return None


def write_card(folder: AnyPath, text: str) -> None:
    """Write the README.md of a folder."""
    with atomic_file(folder / CARD, "w", encoding="utf-8") as file:
        file.write(text)


def licence_of(text: str) -> str:
    """Return the licence that the first lines of a card name."""
    found = _LICENCE.match(text)
    return found[1].strip("\"'") if found else UNKNOWN_LICENCE


def marked(name: str, body: str) -> str:
    """Return a block between marks."""
    return f"<!-- nlbs-cvae: {name} -->\n{body}{_END}"


def blocks_of(text: str) -> list[tuple[str, str]]:
    """Return the names and bodies of the blocks of a card."""
    return [(found["name"], found["body"]) for found in _BLOCK.finditer(text)]


def with_blocks(text: str, blocks: Mapping[str, str]) -> str:
    """Return a card with other bodies of some blocks, as far as it has these."""
    return _BLOCK.sub(lambda found: f"{found['begin']}{blocks.get(found['name'], found['body'])}{_END}", text)


def markdown(parts: Parts) -> str:
    """Return headings, paragraphs and tables as Markdown, in which no value can be taken for anything else."""
    heads = [f"**{cell(heading)}**\n\n" if heading else "" for heading in parts]
    return "\n".join(f"{head}{_body(part)}\n" for head, part in zip(heads, parts.values(), strict=True))


def cell(value: object) -> str:
    """Return a value as a cell of a table of Markdown."""
    text = printable(" ".join(str(value).split()), 500)
    return re.sub(r"([|\\`*_\[\]])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


def _body(part: Part) -> str:
    if isinstance(part, str):
        return part
    rows = [("", ""), *part.items()] if isinstance(part, Mapping) else list(part)
    lines = ["".join(f"| {cell(value)} " for value in row) + "|" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
