"""One folder is one model."""

from pathlib import Path

import pytest

from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.folder import BEST_MODEL, CHECKPOINT, PRETRAINED, model_file, model_name


def test_a_folder_stands_for_the_model_in_it_and_a_file_for_itself(tmp_path: Path) -> None:
    file = tmp_path / "best_model.safetensors"
    file.write_bytes(b"weights")
    assert model_file(tmp_path) == model_file(file) == CHECKPOINT.convert(str(tmp_path), None, None) == file
    other = tmp_path / "last_model.safetensors"  # said to be missing by what opens it
    assert model_file(other) == other


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"the folder {tmp_path} holds no best_model\.safetensors"):
        model_file(tmp_path)
    with pytest.raises(ConfigError, match="no local path"):
        CHECKPOINT.convert("s3://bucket/run", None, None)


def test_the_name_of_a_model_of_the_product_stands_for_it_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CHECKPOINT.convert("tiny-phantom", None, None) == PRETRAINED / "tiny-phantom" / BEST_MODEL
    assert model_file(Path("no-such-model")) == Path("no-such-model")
    assert model_file(tmp_path / "tiny-phantom") == tmp_path / "tiny-phantom"
    own = tmp_path / "tiny-phantom"
    own.mkdir()
    with pytest.raises(CheckpointError, match=r"the folder tiny-phantom holds no best_model\.safetensors"):
        model_file(Path("tiny-phantom"))
    (own / BEST_MODEL).touch()
    assert model_file(Path("tiny-phantom")) == Path("tiny-phantom") / BEST_MODEL


def test_a_name_that_is_nearly_one_of_the_product_is_met_with_that() -> None:
    with pytest.raises(CheckpointError, match="is called tiny-phantm; did you mean tiny-phantom"):
        model_file(Path("tiny-phantm"))


def test_a_title_names_the_run_and_a_file_that_is_not_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_name(Path("/data/runs/first/best_model.safetensors")) == "first"
    assert model_name(Path("/data/runs/first/last_model.safetensors")) == "first/last_model"
    monkeypatch.chdir(tmp_path)
    assert model_name(Path(BEST_MODEL)) == tmp_path.name
