"""No list of condition names is written twice: what needs the names takes them from a schema."""

import ast
from collections.abc import Iterator
from pathlib import Path

from nlbs.manifests.schema import NLBS

ROOT = Path(__file__).parent.parent
FOLDERS = ("manifests", "shards", "preprocess", "models", "cvae", "train", "generate", "evaluate", "src/nlbs")
#: Mappings whose values say how each is read or called in some table: no list of what conditions there are.
RULES = ("manifests/datasets/", "manifests/tables/dialects.py")
_FEWEST = 3


def lists_in(path: Path, with_mappings: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of lists, tuples and sets, or keys of mappings, that hold several names of conditions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict) and not with_mappings:
            continue
        items = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        words = [item.value for item in items if isinstance(item, ast.Constant)]
        names = [name for name in NLBS.names if name in words]
        if len(names) >= _FEWEST:
            yield node.lineno, names


def test_a_list_of_names_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(
        "A = ['view', 'cancer']\nB = ('view', 'x', 'age_bin', 'cancer')\nC = {'view': 1, 'cancer': 2, 'age_bin': 3}"
    )
    assert [line for line, _ in lists_in(path, with_mappings=True)] == [2, 3]
    assert [line for line, _ in lists_in(path, with_mappings=False)] == [2]


def test_the_names_of_the_conditions_stand_in_one_list() -> None:
    found, files = {}, 0
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("**/*.py")):
            place = str(path.relative_to(ROOT))
            files += 1
            for line, names in lists_in(path, not place.startswith(RULES)):
                found[f"{place}:{line}"] = names
    assert files > 200
    # The schema itself makes each condition by its name; manifests/schema.py holds no list of them.
    assert found == {}
