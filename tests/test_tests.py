"""What holds for the tests themselves: they mirror the code, and a loop of assertions does not pass over nothing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
ROOMS = ("manifests", "shards", "preprocess", "models", "cvae", "train", "generate", "evaluate")
#: Tests of no single module, and what they are of.
OF_NO_MODULE = {
    "benchmarks/test_clusters.py": "benchmarks/",
    "benchmarks/test_compare.py": "benchmarks/",
    "benchmarks/test_conclusions.py": "benchmarks/",
    "benchmarks/test_faults.py": "benchmarks/",
    "benchmarks/test_generative.py": "benchmarks/",
    "benchmarks/test_gpu.py": "benchmarks/",
    "benchmarks/test_precision.py": "benchmarks/",
    "benchmarks/test_samplers.py": "benchmarks/",
    "benchmarks/test_seams.py": "benchmarks/",
    "benchmarks/test_variety.py": "benchmarks/",
    "benchmarks/test_zoo.py": "benchmarks/",
    "test_benchmarks.py": "benchmarks/",
    "test_colour.py": "images in colour, through the commands",
    "test_docs.py": "docs/ and README.md",
    "test_examples.py": "examples/, and commands and options in README.md and docs/",
    "test_format_references.py": "shards/README.md and manifests/README.md",
    "test_object_store.py": "datasets in object stores, through the commands",
    "test_object_store_sets.py": "datasets in object stores, through the commands",
    "test_other_systems.py": "systems without what Unix has",
    "test_packaging.py": "setup.cfg, setup.py and pyproject.toml",
    "test_tests.py": "tests/",
}
BY_FAULT = "reliability"  # this folder goes by what may happen; tests/reliability/test_rows.py is its index
#: Loops that may have nothing to go through, by file and test.
MAY_BE_EMPTY = {
    ("manifests/tables/test_dialects.py", "test_columns_stand_in_any_order_among_others"),
    ("models/test_contract.py", "test_judging_repeats_itself_and_ranks_or_says_that_nothing_does"),
    ("shards/order/test_sampling.py", "test_every_row_of_a_stratum_is_used_before_one_comes_again"),
    (
        "shards/order/test_window.py",
        "test_a_stream_goes_through_its_blocks_of_half_a_window_one_after_the_other",
    ),
    ("test_examples.py", "test_options_that_the_texts_name_are_options"),
    ("test_help_page.py", "test_every_option_says_what_it_does_and_what_happens_without_it"),
    ("test_help_page.py", "test_every_number_of_an_option_is_finite"),
    ("train/processes.py", "wait_until"),
}


def modules() -> set[str]:
    """Returns every module of the product as tests/ would call it: "shards/format/tar.py", "files.py"."""
    found = {path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    found |= {path.relative_to(ROOT / "src" / "nlbs") for path in (ROOT / "src" / "nlbs").glob("*.py")}
    return {path.as_posix() for path in found if path.name not in ("__init__.py", "__main__.py")}


def files_of_tests() -> list[str]:
    """Returns the files of tests, without the helpers among them."""
    return sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


def covered_besides(file: str) -> list[str]:
    """Returns the modules of which the first lines of a file of tests say that it covers them too."""
    text = ast.get_docstring(ast.parse((TESTS / file).read_text(encoding="utf-8"))) or ""
    _, _, named = text.partition("Also covers: ")
    return re.findall(r"[\w/]+\.py", named)


def test_every_module_has_a_file_of_tests_or_is_named_in_one() -> None:
    named = {module for file in files_of_tests() for module in covered_besides(file)}
    own = {module for module in modules() if mirrored(module) & set(files_of_tests())}
    assert named - modules() == set(), "there are no such modules"
    assert named & own == set(), "these have files of their own"
    assert modules() - own - named == set(), (
        "write tests, or name them in a file that tests them: Also covers: ..."
    )


def mirrored(module: str) -> set[str]:
    """Returns the files of tests that are of a module: test_tar.py, and the parts of it, test_tar_damage.py."""
    path = Path(module)
    parts = re.compile(rf"test_{path.stem}(_\w+)?\.py")
    beside = (TESTS / path.parent).glob("test_*.py")
    return {file.relative_to(TESTS).as_posix() for file in beside if parts.fullmatch(file.name)}


def test_every_file_of_tests_is_of_a_module_or_says_of_what() -> None:
    of_modules = {file for module in modules() for file in mirrored(module)}
    others = {file for file in files_of_tests() if not file.startswith(f"{BY_FAULT}/")} - of_modules
    assert others == set(OF_NO_MODULE)


def test_a_loop_of_assertions_goes_through_something() -> None:
    """It goes through what is written there, a CONSTANT, ``some(...)``, or what another assertion is about."""
    found = set()
    for path in TESTS.rglob("*.py"):
        for test in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(test, ast.FunctionDef) and list(doubtful(test)):
                found.add((path.relative_to(TESTS).as_posix(), test.name))
    assert found == MAY_BE_EMPTY


def doubtful(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Yields what loops of assertions go through in a test, where nothing says that there is anything."""
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For) and asserts(node)]
    inside = {id(node) for loop in loops for part in loop.body for node in ast.walk(part)}
    told: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and is_full(node.value):
            told |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if id(node) not in inside and isinstance(node, ast.Assert) and not called(node.test, "all"):
            told |= names(node)
        if id(node) not in inside and called(node, "assert_array_equal"):
            told |= names(node)
    walked = [loop.iter for loop in loops]
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Assert)
            and isinstance(node.test, ast.Call)
            and ast.unparse(node.test.func) == "all"
        ):
            walked += [
                each.generators[0].iter for each in node.test.args if isinstance(each, ast.GeneratorExp)
            ]
    yield from (each for each in walked if not is_full(each) and not names(each) & told)


def asserts(loop: ast.For) -> bool:
    """Says whether a loop has assertions in its body."""
    parts = [node for part in loop.body for node in ast.walk(part)]
    return any(isinstance(node, ast.Assert) or called(node, "raises") for node in parts)


def called(node: ast.AST, name: str) -> bool:
    """Says whether this is a call of a function of that name, of any module."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name


def names(node: ast.AST) -> set[str]:
    """Returns the variables in an expression."""
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}


def is_full(value: ast.expr) -> bool:
    """Says whether an expression is never empty, by how it is written."""
    if isinstance(value, ast.Tuple | ast.List | ast.Set):
        return any(not isinstance(each, ast.Starred) or is_full(each.value) for each in value.elts)
    if isinstance(value, ast.Dict | ast.Constant):
        return bool(value.keys if isinstance(value, ast.Dict) else value.value)
    if isinstance(value, ast.Name | ast.Attribute):
        return (value.id if isinstance(value, ast.Name) else value.attr).isupper()
    if isinstance(value, ast.BinOp):
        return is_full(value.left) or is_full(value.right)
    if isinstance(value, ast.Subscript):
        return is_full(value.value)
    if not isinstance(value, ast.Call):
        return False
    if called(value, "range"):
        return not names(value.args[-1])
    if called(value, "zip"):
        return any(map(is_full, value.args))
    if isinstance(value.func, ast.Attribute):  # ALL.items()
        return is_full(value.func.value)
    return called(value, "some") or any(map(is_full, value.args))
