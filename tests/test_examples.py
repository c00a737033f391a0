"""Examples of help pages and of the references go through the product: none can rot."""

import csv
import importlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest

from nlbs.errors import ConfigError
from nlbs.generate.commands.options import CONDITIONS_TEXT
from nlbs.generate.condition_table import read_conditions
from nlbs.manifests.asked import names_of, pairs_of, parse_value, parse_values
from nlbs.manifests.kinds import parse_kinds
from nlbs.manifests.people.splits import parse_shares
from nlbs.manifests.schema import NLBS
from nlbs.manifests.tables.dialects import parse_columns
from nlbs.manifests.tables.table import TableOptions, read_table
from nlbs.models import registry
from nlbs.models.guidance import Guidance, parsed_guidance
from nlbs.preprocess.formats.frames import parse_frame
from nlbs.preprocess.parts import parse_part
from nlbs.preprocess.root.intake import failure_limit
from nlbs.shards.format.manifest import SCHEMA
from nlbs.shards.format.where import select
from nlbs.train.config import resolved_config
from tests.conftest import some
from tests.programs import PAGES, PROGRAMS, Page

ROOT = Path(__file__).parents[1]


def presets() -> list[str]:
    """Return the names of the presets of all families."""
    return [name for family in map(registry.family, registry.names()) for name in family.presets]


TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(ROOT.glob("[a-z]*/README.md")),
        *(path for path in sorted(ROOT.glob("docs/**/*.md")) if "_build" not in path.parts),
    )
}
DRAW = TEXTS["docs/how_to/draw.md"]
NAME = r"nlbs-(?:preprocess|train|generate|evaluate)\b"
CALL = re.compile(rf"(?:{NAME}|(?<=-m )nlbs\.train\b)(?![.\w]).*")
#: What a README writes in short: "M" is a checkpoint, "S" a shard set.
SHORT = {"M": "--checkpoint runs/nlbs/best_model.safetensors"}
EMPTY = pa.Table.from_pylist([], schema=SCHEMA)


@dataclass(frozen=True)
class Call:
    """A command line, and whether it stands whole: prose may leave out what is required."""

    place: str
    line: str
    whole: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.line}"


def fenced(text: str) -> list[str]:
    return re.findall(r"^```[^\n`]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def in_line(text: str) -> list[str]:
    """Gives what stands between backticks outside of fenced blocks, on one line each."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def calls_in(place: str, text: str) -> Iterator[Call]:
    for block in fenced(text):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            found = CALL.search(line)
            if found and not re.search("import|:prog:", line) and f"name={found[0]}" not in line:
                yield Call(place, found[0].split(" | ")[0], whole=True)
    for code in in_line(text):
        if CALL.fullmatch(code) and "COMMAND" not in code and " " in code:
            yield Call(place, code, whole=False)


def documented() -> Iterator[Call]:
    for place, text in TEXTS.items():
        yield from calls_in(place, text)
    table = DRAW.split("| call of `nlbs-generate` |")[1].split("\n\n")[0]
    for cell in re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE):
        words = re.sub(r"\bM\b", SHORT["M"], cell)
        yield Call("docs/how_to/draw.md", f"nlbs-generate {words}", whole=True)


def helped() -> Iterator[Call]:
    """Gives the command lines in help texts, and their lines that begin with an option."""
    for page in PAGES:
        texts = [page.command.help or "", page.command.epilog or ""]
        for text in texts:
            for line in text.splitlines():
                line = line.strip()
                if line.startswith("--"):
                    words = re.split(r"\s{2,}", line)[0]
                    given = f"{SHORT['M']} --out s/" if page.words[0] == "nlbs-generate" else ""
                    yield Call(str(page), f"{page} {given} {words}", whole=True)
            for found in re.findall(rf"(?:{NAME}|-m nlbs\.train) [^.:;()\n]*(?:\n *--[^.:;()\n]*)?", text):
                if " --" in found and "COMMAND" not in found:
                    yield Call(str(page), " ".join(found.removeprefix("-m ").split()), whole=False)


CALLS = list(dict.fromkeys([*documented(), *helped()]))


def parsed(call: Call) -> tuple[Page, dict[str, Any]]:
    """Gives the page of a call and its values; a usage error is raised."""
    program, *words = shlex.split(re.sub(r"\$\{?\w+\}?", "1", call.line), comments=True)
    program = program.replace("nlbs.", "nlbs-")
    names = (program,)
    command = PROGRAMS[program]
    if isinstance(command, click.Group) and words and words[0] in command.commands:
        names = (program, words.pop(0))
    elif program == "nlbs-generate":
        names = (program, "draw")
    elif isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command.resolve_command(next(page for page in PAGES if page.words == names).context, words)
    page = next(page for page in PAGES if page.words == names)
    context = page.command.make_context(names[-1], words, parent=page.context.parent)
    assert not context.args
    return page, context.params


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_command_line_of_the_texts_is_one_that_the_program_takes(call: Call, tmp_path: Path) -> None:
    try:
        page, values = parsed(call)
    except (click.MissingParameter, click.BadOptionUsage):
        assert not call.whole, call
        return
    for option in page.options:
        value = values.get(str(option.name))
        if value is not None and value != option.default:
            if option.type is CONDITIONS_TEXT:
                value = ",".join(map("=".join, value))
            for one in value if option.multiple else [value]:
                check_value(str(option.name), one, tmp_path)


@pytest.mark.parametrize("name", ["demo", "tiny_model"])
def test_the_programs_in_examples_call_commands_that_there_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.chdir(ROOT)
    example = importlib.import_module(name)
    lines: list[str] = []

    def noted(command: str, **paths: Path) -> None:
        lines.append(" ".join([command, *(f"--{option} {path}" for option, path in paths.items())]))

    monkeypatch.setattr(example, "run", noted)
    monkeypatch.setattr(sys, "argv", [name, "--out", str(tmp_path)])
    if name == "tiny_model":
        example.draw_phantoms(tmp_path)
        assert (
            resolved_config(example.PRESET, ROOT / "examples" / "tiny_model.yaml", {}).family
            == "latent-diffusion"
        )
    else:
        example.main()
    for line in some(lines):
        parsed(Call(name, line, whole=True))


def test_texts_have_the_examples_that_are_looked_for() -> None:
    places = [call.place for call in CALLS if call.whole]
    assert {"README.md", "docs/tutorials/phantoms.md"} <= set(places)
    assert sum(place == "docs/how_to/draw.md" for place in places) > 15
    assert len(places) > 100
    assert any("interpolate" in place for place in places)


def check_value(name: str, value: Any, folder: Path) -> None:
    """Feeds what a command reads only once it runs to what reads it."""
    if name in VALUES and isinstance(value, str):
        VALUES[name](value)
    elif name == "columns" and isinstance(value, str):  # phantom has --columns too, a number
        check_map(value, folder)


def check_map(text: str, folder: Path) -> None:
    """Feeds --map and a table that has its columns to the product."""
    columns = parse_columns([text])
    cells = {"view": "CC", "laterality": "L", "age": "66", "cancer": "0", "false_positive": "0"}
    table = folder / "own.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns.values())
        writer.writerow(cells.get(name, "p1/a.dcm") for name in columns)
    row = read_table(table, options=TableOptions(columns=columns)).rows[0]
    assert row.problem is None
    assert row.path == "p1/a.dcm"
    if "view" in columns:
        assert row.conditions.view == "CC"


VALUES: Mapping[str, Callable[[str], object]] = {
    "split": lambda text: text in ("dataset", "train", "val", "test") or parse_shares(text),
    "part": parse_part,
    "frame": parse_frame,
    "kinds": parse_kinds,
    "max_failures": lambda text: failure_limit(text, 1000),
    "start": lambda text: parse_values(pairs_of(text), NLBS),
    "end": lambda text: parse_values(pairs_of(text), NLBS),
    **{name: partial(parse_value, name, schema=NLBS) for name in names_of(NLBS)},
    "guidance": lambda text: parsed_guidance(text, Guidance(), NLBS),
    "where": lambda text: select(EMPTY, text),
    "healthy": lambda text: select(EMPTY, text),
    "abnormal": lambda text: select(EMPTY, text),
}


def examples_of_options() -> Iterator[tuple[Page, click.Option, str]]:
    """Gives each value that the help of an option names as an example, after "such as"."""
    for page in PAGES:
        for option in page.options:
            # A filter is in quotes and has spaces; no other example has.
            for quoted, plain in re.findall(r'such as (?:"([^"]+)"|(\S+))', option.help or ""):
                example = quoted or re.sub(r"[.,;]+$", "", plain)
                if example[0] not in "\"'" and option.name not in NO_EXAMPLE:
                    yield page, option, example


#: Options whose "such as" is no value of theirs.
NO_EXAMPLE = {"trust_patients", "similar_ids", "csv_paths"}


@pytest.mark.parametrize(
    ("page", "option", "example"),
    [pytest.param(*found, id=f"{found[0]} {found[1].opts[0]} {found[2]}") for found in examples_of_options()],
)
def test_an_example_of_an_option_is_a_value_that_it_takes(
    page: Page, option: click.Option, example: str, tmp_path: Path
) -> None:
    given = [example] if option.multiple else example
    option.process_value(page.context, given)
    check_value(str(option.name), example, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_values_that_stand_by_themselves_are_ones_that_are_taken(page: Page, tmp_path: Path) -> None:
    for option in page.options:
        if isinstance(option.default, str):
            check_value(str(option.name), option.default, tmp_path)


def tables() -> Iterator[tuple[str, str]]:
    """Gives the place and the text of each table in help pages and texts, by its header."""
    for page in PAGES:
        lines = [line.strip() for line in (page.command.help or "").splitlines()]
        for line, following in pairwise(lines):
            if line.count(",") > 3 and ", " not in line and following.count(",") == line.count(","):
                yield str(page), f"{line}\n{following}\n"
    for place, text in TEXTS.items():
        for block in fenced(text):
            if re.match(r"[\w ]+(,[\w ]+){3,}\n", block):
                yield place, block


def test_both_tables_are_found() -> None:
    assert {place for place, _ in tables()} >= {"nlbs-preprocess build-shards", "README.md"}


@pytest.mark.parametrize(("place", "text"), list(tables()))
def test_a_table_of_the_texts_is_read_as_the_dataset_that_it_shows(
    place: str, text: str, tmp_path: Path
) -> None:
    table = tmp_path / "meta.csv"
    table.write_text(text, encoding="utf-8")
    read = read_table(table)
    assert read.dialect.key == "nlbs"
    (row,) = read.rows
    assert row.problem is None
    # What csv and a person read there.
    expected = next(csv.DictReader(text.splitlines()))
    assert row.path == expected["File Path"].replace("\\", "/")
    assert row.patient == "109430185503"
    said = row.conditions
    assert (said.laterality, said.view) == (expected["Image Laterality"], expected["View Position"])
    assert said.age_years == int(expected["Age"])
    assert (said.cancer, said.false_positive) == (False, False)


def test_the_columns_of_conditions_that_help_names_are_read(tmp_path: Path) -> None:
    page = next(page for page in PAGES if page.words == ("nlbs-generate", "draw"))
    text = next(option.help or "" for option in page.options if "--conditions" in option.opts)
    names = re.findall(r"\b(view|laterality|age_bin|age|cancer|false_positive|count)\b", text)
    assert names == ["view", "laterality", "age", "age_bin", "cancer", "false_positive", "count"]
    names.remove("age_bin")  # "age or age_bin"
    table = tmp_path / "cases.csv"
    table.write_text(",".join(names) + "\nCC,L,66,yes,no,3\n,,,,,1\n", encoding="utf-8")
    assert len(read_conditions(table, NLBS)) == 4


#: What the pages show as what presets have by themselves.
BY_ITSELF = "autoguidance: {share: 0.0625}"


def snippets() -> list[str]:
    """Gives the YAML in the pages: `key: value`, which begins with a key of the configuration or of a section."""
    pages = [text for place, text in TEXTS.items() if place.startswith("docs/how_to/")]
    found = [code for text in pages for code in in_line(text) if re.fullmatch(r"[a-z_]+: \S.*", code)]
    return list(dict.fromkeys(found))


def test_the_pages_have_yaml() -> None:
    assert len(snippets()) > 10


@pytest.mark.parametrize("snippet", snippets())
def test_a_yaml_snippet_of_the_pages_is_a_configuration(snippet: str, tmp_path: Path) -> None:
    key = snippet.split(":")[0]
    whole = resolved_config("nlbs-small", None, {})  # of the family's sections and the stages'
    sections = {None: whole, "training": whole.training, "data": whole.data}
    section = next(name for name, kind in sections.items() if key in {field.name for field in fields(kind)})
    path = tmp_path / "my.yaml"
    path.write_text(snippet if section is None else f"{section}: {{{snippet}}}\n", encoding="utf-8")
    changed = []
    # Some have it by themselves, or exclude it; those of other families may not know it.
    for preset in some(presets()):
        try:
            changed.append(resolved_config(preset, path, {}) != resolved_config(preset, None, {}))
        except ConfigError as error:
            assert "unknown key" not in str(error) or key in ("loss", "model")  # sections of a family
    assert any(changed) or snippet == BY_ITSELF


def test_keys_that_the_pages_name_are_keys() -> None:
    from nlbs.train.config import keys_named

    for code in some([code for place, text in TEXTS.items() if "how_to" in place for code in in_line(text)]):
        if re.fullmatch(r"(training|data|model|flow|grain|mixture|autoguidance)\.\w+(\.\w+)*", code):
            assert code in keys_named(code.split(".")[-1]), code


def test_options_that_the_texts_name_are_options() -> None:
    known = set().union(*(page.flags for page in PAGES))
    foreign = {
        *(
            "--nnodes",
            "--nproc-per-node",
            "--rdzv-backend",
            "--rdzv-id",
            "--rdzv-endpoint",
            "--shutdown-timeout",
        ),
        *("--run-path", "--fault", "--every"),  # of torchrun, and of tests/reliability
    }
    for place, text in TEXTS.items():
        for code in in_line(text):
            if not code.startswith(("git ", "python", "pip ", "apt", "gdcmconv", "torchrun", "docker")):
                words = re.findall(
                    r"(?<![\w-])--[a-z][a-z-]+(?![a-z<-])", code
                )  # "--sha<Tab>" is half of one
                assert set(words) <= known | foreign, (place, code)
