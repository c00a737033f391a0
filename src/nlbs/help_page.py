"""How a help page looks: options in sections, one column throughout, commands in the order of work, nothing cut off."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import click

#: Title of a section -> its options by their flags, such as "--csv".
Sections = Mapping[str, Sequence[str]]

#: Commands with fewer options than this, --help among them, show them in one list.
FEWEST_FOR_SECTIONS = 10
_LONGEST_FIRST_COLUMN = 28
_BETWEEN_COLUMNS = 2
_ABOUT_THE_PROGRAM = "Other options"
#: What click writes, and what a person reads.
_PLAINER = (
    (re.compile(r"default: \((.*)\)(?=[;\]])"), r"default: \1"),
    (re.compile(r"\bx>=(-?[\d.]+)"), r"at least \1"),
    (re.compile(r"\bx>(-?[\d.]+)"), r"more than \1"),
    (re.compile(r"(-?[\d.]+)<=x<=(-?[\d.]+)"), r"\1 to \2"),
)
#: What stands for a value of a type where an option does not say better.
_METAVARS = {
    "integer": "N",
    "integer range": "N",
    "float": "NUMBER",
    "float range": "NUMBER",
    "text": "TEXT",
    "path": "PATH",
}


class HelpPage(click.HelpFormatter):
    """A page whose lines break between words only: names such as --batch-size and examples stay whole."""

    first_column = 0  #: width of the first column of all lists; 0: of each list's own

    def write_text(self, text: str) -> None:
        """Write paragraphs; lines of one that begins with \\b stay as they are."""
        indent = " " * self.current_indent
        paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
        written = []
        for paragraph in paragraphs:
            if paragraph.lstrip("\n").startswith("\b"):
                lines = [line for line in paragraph.replace("\b", "").split("\n") if line.strip()]
                written.append("\n".join(indent + line for line in lines))
            else:
                written.append("\n".join(_wrapped(paragraph, self.width, indent)))
        self.write("\n\n".join(written))
        self.write("\n")

    def write_dl(
        self,
        rows: Iterable[tuple[str, str]],
        col_max: int = _LONGEST_FIRST_COLUMN,
        col_spacing: int = _BETWEEN_COLUMNS,
    ) -> None:
        """Write names and what they mean side by side; a long name has a line of its own."""
        listed = list(rows)
        first = self.first_column or first_column(listed, col_max)
        indent, column = " " * self.current_indent, self.current_indent + first + col_spacing
        for name, meaning in listed:
            lines = _wrapped(meaning, self.width, " " * column)
            if len(name) > first:
                self.write(f"{indent}{name}\n")
            else:
                begun = f"{indent}{name:<{first + col_spacing}}"
                lines = [f"{begun}{lines[0].strip()}".rstrip() if lines else begun.rstrip(), *lines[1:]]
            self.write("".join(f"{line}\n" for line in lines))


def first_column(rows: Iterable[tuple[str, str]], longest: int = _LONGEST_FIRST_COLUMN) -> int:
    """Return the width that the first column needs, at most ``longest``."""
    return max((len(name) for name, _ in rows if len(name) <= longest), default=longest)


def name_values(parameters: Iterable[click.Parameter]) -> None:
    """Give each option that does not name its value a short name for it, such as N or NUMBER."""
    for parameter in parameters:
        flag = isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count)
        if parameter.metavar is None and not flag and not isinstance(parameter.type, click.Choice):
            name = parameter.type.name
            parameter.metavar = name if "|" in name else _METAVARS.get(name)


def write_options(
    parameters: Sequence[click.Parameter], ctx: click.Context, page: click.HelpFormatter, sections: Sections
) -> None:
    """Write options, in sections where there are many of them."""
    records = [
        (parameter, (record[0], _plainer(record[1])))
        for parameter in parameters
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
    ]
    if isinstance(page, HelpPage):
        page.first_column = first_column(record for _, record in records)
    divided = sections if len(records) >= FEWEST_FOR_SECTIONS else {}
    left = dict(enumerate(records))
    for title, flags in divided.items():
        places = [place for flag in flags for place, (option, _) in left.items() if flag in option.opts]
        rows = [left.pop(place)[1] for place in places]
        if rows:
            with page.section(title):
                page.write_dl(rows)
    if left:
        with page.section(_ABOUT_THE_PROGRAM if len(left) < len(records) else "Options"):
            page.write_dl([record for _, record in left.values()])


def write_commands(
    commands: Mapping[str, click.Command], page: click.HelpFormatter, sections: Sections
) -> None:
    """Write the commands of a group with their whole summaries, in sections; what is in none comes last."""
    rows = {name: (name, summary(command)) for name, command in commands.items() if not command.hidden}
    if isinstance(page, HelpPage):
        page.first_column = first_column(rows.values())
    for title, names in sections.items():
        listed = [rows.pop(name) for name in names if name in rows]
        if listed:
            with page.section(title):
                page.write_dl(listed)
    if rows:
        with page.section("Commands"):
            page.write_dl(list(rows.values()))


def summary(command: click.Command) -> str:
    """Return the first paragraph of what a command says of itself, on one line and uncut."""
    text = command.short_help or (command.help or "").split("\n\n")[0]
    return " ".join(text.split())


def _plainer(text: str) -> str:
    for pattern, plain in _PLAINER:
        text = pattern.sub(plain, text)
    return text


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        re.sub(r"\s*\n\s*", " ", text.strip()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
