"""Configurations from YAML: what is known is taken, all else is an error that helps."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nlbs.config import STRICT, from_mapping, merged, read_yaml, write_yaml
from nlbs.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Model:
    __pydantic_config__ = STRICT
    latent_dim: int
    widths: tuple[int, ...] = (64, 128)
    use_skip_connections: bool = True


@dataclasses.dataclass(frozen=True)
class Training:
    __pydantic_config__ = STRICT
    model: Model
    learning_rate: float = 1e-3
    note: str = ""
    epochs: int | None = None


def error_of(values: dict[Any, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Training, values, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    assert "\n" not in message
    return message


def test_values_fill_the_fields_and_defaults_the_rest() -> None:
    config = from_mapping(
        Training, {"model": {"latent_dim": 256, "widths": [1, 2, 3]}, "epochs": 5}, "my.yaml"
    )
    assert config == Training(Model(256, (1, 2, 3), True), 1e-3, "", 5)


def test_numbers_in_the_exponent_form_that_yaml_takes_for_text_are_numbers() -> None:
    values = yaml.safe_load("model: {latent_dim: 8}\nlearning_rate: 1e-4\n")
    assert values["learning_rate"] == "1e-4"  # YAML 1.1 wants a point in a float
    assert from_mapping(Training, values, "my.yaml").learning_rate == 1e-4


def test_an_unknown_key_is_an_error_that_suggests_the_nearest() -> None:
    assert error_of({"model": {"latent_dim": 8}, "learning_rat": 1}) == (
        "my.yaml: unknown key 'learning_rat', did you mean 'learning_rate'?"
    )
    nested = error_of({"model": {"latent_dim": 8, "use_skip_conections": False}})
    assert "unknown key 'model.use_skip_conections', did you mean 'use_skip_connections'?" in nested


def test_an_unknown_key_near_nothing_lists_those_there_are() -> None:
    message = error_of({"model": {"latent_dim": 8}, "zzz": 1})
    assert "unknown key 'zzz', known keys: model, learning_rate, note, epochs" in message


def test_every_problem_is_told_at_once() -> None:
    message = error_of({"model": {"latent_dim": "wide", "widths": [1, "x"]}, "epochs": 1.5})
    assert "'model.latent_dim' is 'wide': input should be a valid integer" in message
    assert "'model.widths.1' is 'x'" in message
    assert "'epochs' is 1.5" in message


def test_a_missing_key_is_said_to_be_missing() -> None:
    assert error_of({"model": {}}) == "my.yaml: the key 'model.latent_dim' is missing."
    assert error_of({}) == "my.yaml: the key 'model' is missing."


@pytest.mark.parametrize("value", [float("nan"), float("inf"), ".nan", "-inf"])
def test_a_number_that_is_none_is_refused(value: object) -> None:
    assert "'learning_rate' is" in error_of({"model": {"latent_dim": 8}, "learning_rate": value})


@pytest.mark.parametrize("values", [{1: 2}, {"model": 7}, {"model": None}, {"model": [8]}])
def test_shapes_that_are_no_configuration_are_refused(values: dict[Any, Any]) -> None:
    error_of(values)


@given(
    width=st.integers(-(2**40), 2**40),
    widths=st.lists(st.integers(0, 99), max_size=4).map(tuple),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    note=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20),
    epochs=st.none() | st.integers(0, 9),
)
def test_what_is_written_as_yaml_is_read_back_equal(
    width: int, widths: tuple[int, ...], rate: float, note: str, epochs: int | None
) -> None:
    config = Training(Model(width, widths, False), rate, note, epochs)
    text = write_yaml(config)
    assert from_mapping(Training, yaml.safe_load(text), "my.yaml") == config
    assert list(yaml.safe_load(text)) == ["model", "learning_rate", "note", "epochs"]


def test_yaml_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model:\n  latent_dim: 8\n# é\n", encoding="utf-8")
    assert read_yaml(tmp_path / "c.yaml") == {"model": {"latent_dim": 8}}


@pytest.mark.parametrize(
    "content",
    [
        b"model: [",
        b"\xff\xfe",
        b"a: 1\n b: 2",
        b"!!python/object/apply:os.system ['touch pwned']",
        b"[" * 20_000,
    ],
)
def test_what_is_no_plain_yaml_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"cannot read the configuration {tmp_path}/c\.yaml") as caught:
        read_yaml(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", ["", "3", "- a\n- b\n", "model"])
def test_a_file_without_sections_is_told_what_is_expected(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"c\.yaml holds no mapping; expected sections such as 'model:'"):
        read_yaml(tmp_path / "c.yaml")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=f"cannot read the configuration {path}"):
            read_yaml(path)


def test_sections_are_merged_key_by_key_and_the_arguments_left_alone() -> None:
    base = {"model": {"a": 1, "b": {"c": 2, "d": 3}}, "list": [1, 2], "x": 1}
    over = {"model": {"b": {"c": 9}}, "list": [3], "x": {"y": 1}, "new": None}
    assert merged(base, over) == {
        "model": {"a": 1, "b": {"c": 9, "d": 3}},
        "list": [3],
        "x": {"y": 1},
        "new": None,
    }
    assert base["model"] == {"a": 1, "b": {"c": 2, "d": 3}}
    assert over["model"] == {"b": {"c": 9}}
