"""YAML that may come from anywhere, counted before it is built."""

from pathlib import Path

import pytest
import yaml

from nlbs.config import read_yaml
from nlbs.errors import ConfigError
from nlbs.text import printable
from nlbs.yaml_text import parse_yaml


def test_yaml_that_repeats_itself_is_counted_before_it_is_built(tmp_path: Path) -> None:
    aliases = "a0: &a0 {k: v}\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    merges = "a0: &a0 {k: v}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}\n" for n in range(1, 12)
    )
    hostile = {
        aliases: "values",
        merges: "values",
        "[" * 5000: "deep",
        "&a [*a]": "itself",
        "a: 1\na: 2": "twice",
        "a: " + "1" * 5000: "a number of 5,000",
        "a: 0x" + "f" * 5000: "a number",
        "a: 2020-13-45": "month",
        "!!python/object/apply:os.system [ls]": "tag",
        "? [a]\n: 1": "unhashable",
        "a: 1\n---\nb: 2": "single document",
        "a: \0": "special characters",
        "x" * (1 << 17): "characters|bytes",
        "a: &x 1\nb: *y": "undefined alias",
    }
    for text, why in hostile.items():
        with pytest.raises(ValueError, match=why):
            parse_yaml(text)
        (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match="cannot read the configuration") as caught:
            read_yaml(tmp_path / "c.yaml")
        assert len(str(caught.value)) < 1000
        assert printable(str(caught.value)) == str(caught.value)


def test_good_yaml_is_what_the_library_makes_of_it() -> None:
    for text in (
        "a: 1\nb: [x, 2.5, null, true]\n",
        "x: &d {a: 1}\ny: {<<: *d, b: 2}\nz: [*d, *d]",
        "- a\n- b\n",
        "",
        "x: &a {p: 1}\ny: &b {q: 2}\nz: {<<: [*a, *b], p: 3}",
        "d: 2020-01-02\ns: '0x10'\nn: -1e-3\n",
    ):
        assert parse_yaml(text) == yaml.safe_load(text)
