"""Help pages: whole sentences, sections, the order of work, and nothing that needs torch."""

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nlbs.command import Command, Finite, Group
from nlbs.help_page import FEWEST_FOR_SECTIONS, summary
from tests.programs import PAGES, PROGRAMS, Page

ROOT = Path(__file__).parents[1]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=str)
#: Options whose absence has no default value that could be told: what they do is what is left out.
WITHOUT_DEFAULT = {
    "--conditions",
    "--like",
    "--grid",
    "--from",
    "--to",
    "--to-seed",
    "--shards",
    "--row",
    "--heat-maps",
}


def one_line(text: str) -> str:
    return " ".join(text.split())


@EVERY_PAGE
@pytest.mark.parametrize("columns", [80, 120])
def test_a_page_fits_its_terminal_and_cuts_nothing_off(page: Page, columns: int) -> None:
    text = page.text(columns)
    assert max(map(len, text.splitlines())) <= columns
    assert "…" not in text
    # Three points stand where a person is to go on, in "nlbs.train ..." and in usage lines; never in a summary.
    assert not re.search(r"\w\.\.\.", text.replace("[ARGS]...", ""))


@EVERY_PAGE
def test_names_and_examples_are_not_broken_across_lines(page: Page) -> None:
    assert not [line for line in page.text().splitlines() if re.search(r"\w-$", line)]
    for option in page.options:
        for word in re.findall(r"--[\w-]+|\S+[=/,]\S+", option.help or ""):
            assert word in page.text()


@EVERY_PAGE
def test_every_option_says_what_it_does_and_what_happens_without_it(page: Page) -> None:
    text = page.text()
    for option in page.options:
        assert option.opts[0] in text
        assert option.help and option.help.endswith((".", "]")), option.opts
        record = option.get_help_record(page.context)
        assert record is not None
        said = "default:" in record[1] or "[required]" in record[1]
        assert said or option.is_flag or option.multiple or option.opts[0] in WITHOUT_DEFAULT, option.opts


@EVERY_PAGE
def test_every_option_stands_in_one_section(page: Page) -> None:
    assert isinstance(page.command, Command)
    if len(page.options) + 1 < FEWEST_FOR_SECTIONS:
        return
    sections = page.command.sections_in(page.context)
    for option in page.options:
        assert sum(flag in flags for flags in sections.values() for flag in option.opts) == 1, option.opts


@pytest.mark.parametrize("name", PROGRAMS)
def test_sections_name_options_that_there_are(name: str) -> None:
    of_program = [page for page in PAGES if page.words[0] == name]
    command = of_program[0].command
    assert isinstance(command, Command) and command.sections
    flags = set().union(*(page.flags for page in of_program))
    named = Counter(flag for listed in command.sections.values() for flag in listed)
    assert set(named) <= flags
    assert set(named.values()) == {1}


def test_commands_stand_in_the_order_of_work_with_their_whole_summaries() -> None:
    page = next(page for page in PAGES if page.words == ("nlbs-preprocess",))
    text = page.text()
    order = [
        *("phantom", "preflight", "build-shards", "merge", "append", "reshard", "convert"),
        *("view", "verify", "info", "report", "preview", "card", "to-dicom"),
    ]
    places = [text.index(f"\n  {name} ") for name in order]
    assert places == sorted(places)
    assert set(order) == set(PROGRAMS["nlbs-preprocess"].commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", [page for page in PAGES if isinstance(page.command, Group)], ids=str)
def test_a_group_shows_the_first_sentence_of_each_command(page: Page) -> None:
    assert isinstance(page.command, Group)
    shown = one_line(page.text())
    for command in page.command.commands.values():
        assert f"{command.name} {summary(command)}" in shown
        assert summary(command).endswith(".")


def test_a_page_in_words() -> None:
    """The layout, on a command of its own: sections, one column, long names on a line of their own."""

    @click.command(cls=Command, sections={"Numbers": ["--count", "--share"], "Names": ["--name"]})
    @click.option("--name", help="Of it.")
    @click.option("--kind", type=click.Choice(["a-long-one", "another-long-one"]), help="Which.")
    @click.option("--count", type=click.IntRange(1), default=3, show_default=True, help="How many of --name.")
    @click.option("--share", type=Finite(0, 1), help="Of all.")
    @click.option("--free", type=Finite(), help="Any.")
    @click.option("--over", type=Finite(min=0, min_open=True), show_default="the other's", help="More.")
    @click.option("--a", is_flag=True, help="A.")
    @click.option("--b", is_flag=True, help="B.")
    @click.option("--c", is_flag=True, help="C.")
    def command() -> None:
        """Does it."""

    context = command.make_context("it", [], terminal_width=60)
    assert command.get_help(context).splitlines() == [
        "Usage: it [OPTIONS]",
        "",
        "  Does it.",
        "",
        "Numbers:",
        "  --count N       How many of --name.  [default: 3; at least",
        "                  1]",
        "  --share NUMBER  Of all.  [0 to 1]",
        "",
        "Names:",
        "  --name TEXT     Of it.",
        "",
        "Other options:",
        "  --kind [a-long-one|another-long-one]",
        "                  Which.",
        "  --free NUMBER   Any.",
        "  --over NUMBER   More.  [default: the other's; more than 0]",
        "  --a             A.",
        "  --b             B.",
        "  --c             C.",
        "  -h, --help      Show this message and exit.",
    ]


@EVERY_PAGE
def test_every_number_of_an_option_is_finite(page: Page) -> None:
    for option in page.options:
        if isinstance(option.type, type(click.FLOAT)):  # of which click.FloatRange is one
            assert isinstance(option.type, Finite), option.opts
            for word in ("nan", "inf", "-inf", "1e999"):
                with pytest.raises(click.BadParameter):
                    option.type.convert(word, option, page.context)


@EVERY_PAGE
def test_pages_are_of_our_own_class(page: Page) -> None:
    assert isinstance(page.command, Command)


def product_files() -> Iterator[Path]:
    for folder in ("manifests", "preprocess", "shards", "cvae", "train", "generate", "evaluate", "src/nlbs"):
        yield from (path for path in (ROOT / folder).rglob("*.py") if path.is_file())


def test_bars_are_drawn_in_two_places_that_look_for_a_terminal() -> None:
    bars = r"^\s*(?:from|import) (?:tqdm|rich|alive_progress|progressbar)|click\.progressbar"
    drawing = {
        path.relative_to(ROOT).as_posix()
        for path in product_files()
        if re.search(bars, path.read_text("utf-8"), re.MULTILINE)
    }
    assert drawing == {"src/nlbs/progress.py", "train/log.py"}
    for name in drawing:
        assert "isatty()" in (ROOT / name).read_text("utf-8")


def test_a_phantom_in_a_log_says_plain_lines(tmp_path: Path) -> None:
    code = (
        "import sys, nlbs.progress\n"
        "nlbs.progress._SECONDS_BETWEEN_LINES = 0.0\n"
        "from nlbs.preprocess.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    words = ["phantom", "--patients", "3", "--rows", "256", "--columns", "200", "--jobs", "1", "--out"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, str(tmp_path / "p")], capture_output=True, text=True, check=True
    )
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"Drawing: {n} of 3 patients" for n in (1, 2, 3)]


def test_help_is_instant_for_every_command() -> None:
    heavy = ("torch", "pydicom", "pandas", "pyarrow", "zarr", "scipy", "joblib", "numpy")
    code = (
        "import sys\n"
        "from tests.programs import PAGES\n"
        "for page in PAGES:\n"
        "    page.text()\n"
        f"print([m for m in {heavy!r} if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_docstrings_of_commands_are_sentences() -> None:
    for page in PAGES:
        text = inspect.cleandoc(page.command.help or "")
        assert text.split("\n\n")[0].rstrip().endswith("."), str(page)


def flags_in_messages() -> Iterator[tuple[Path, str]]:
    """Gives each --option that a text of the product names."""
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+(?!\w)", node.value):
                    yield path, flag


def test_messages_name_options_that_there_are() -> None:
    known = set().union(*(page.flags for page in PAGES))
    foreign = {
        "--raw",  # gdcmconv
        "--nproc-per-node",  # torchrun
        "--logdir",  # tensorboard
        "--lr",
        "--ema-decay",  # examples of options that there are none of
    }
    unknown = {(path.name, flag) for path, flag in flags_in_messages() if flag not in known | foreign}
    assert not unknown
