"""One folder is one model."""

from pathlib import Path

import pytest

from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.folder import CHECKPOINT, model_file


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
