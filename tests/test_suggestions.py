"""What a command says of an option or a command that there is none of."""

import pytest

from nlbs.command import entry_point
from nlbs.suggestions import _COMMANDS, _OPTIONS, commands_like, options_like, or_list
from tests.programs import PAGES, PROGRAMS


def said(capsys: pytest.CaptureFixture[str], line: str) -> str:
    program, *words = line.split()
    with pytest.raises(SystemExit) as caught:
        entry_point(PROGRAMS[program])(words)
    assert caught.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        # By meaning: as other trainers and tools call it.
        ("nlbs-train --lr 1e-4", "--learning-rate"),
        ("nlbs-train -lr 1e-4", "--learning-rate"),
        ("nlbs-train --bs 64", "--batch-size"),
        ("nlbs-train --gpu 0", "--device"),
        ("nlbs-train --gpus=1", "--device"),
        ("nlbs-train --cuda", "--device"),
        ("nlbs-train --num-epochs 3", "--epochs"),
        ("nlbs-train --output runs/x", "--run"),
        ("nlbs-train --data shards", "--shards"),
        ("nlbs-train --fp16", "--precision"),
        ("nlbs-train --model nlbs", "--preset"),
        ("nlbs-preprocess build-shards --output s", "--out"),
        ("nlbs-preprocess build-shards -o s", "--out"),
        ("nlbs-preprocess build-shards --output_dir s", "--out"),
        ("nlbs-preprocess build-shards --input m.csv", "--csv"),
        ("nlbs-preprocess build-shards --csv-path m.csv", "--csv"),
        ("nlbs-preprocess build-shards --workers 4", "--jobs"),
        ("nlbs-preprocess build-shards --num_workers 4", "--jobs"),
        ("nlbs-preprocess build-shards -j 4", "--jobs"),
        ("nlbs-preprocess build-shards --patch-size 256", "--resolution"),
        ("nlbs-preprocess build-shards --force", "--overwrite"),
        ("nlbs-preprocess build-shards --image-dir d", "--images"),
        ("nlbs-generate --model best.safetensors", "--checkpoint"),
        ("nlbs-generate --n 4", "--num"),
        ("nlbs-evaluate --gpu 0", "--device"),
        # By spelling.
        ("nlbs-train --learning_rate 1", "--learning-rate"),
        ("nlbs-train --batchSize 1", "--batch-size"),
        ("nlbs-train --lerning-rate 1", "--learning-rate"),
        ("nlbs-generate --chekpoint m", "--checkpoint"),
        ("nlbs-preprocess reshard --resolutoin 64", "--resolution"),
        ("nlbs-preprocess reshard --res 64", "--resolution"),
    ],
)
def test_an_unknown_option_suggests_what_was_meant(
    capsys: pytest.CaptureFixture[str], line: str, meant: str
) -> None:
    message = said(capsys, line)
    assert message.startswith("Error: No such option '-")
    assert meant in message.partition("Did you mean ")[2].rstrip("?").replace(",", " ").split()


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("nlbs-preprocess build", "build-shards"),
        ("nlbs-preprocess buildshards", "build-shards"),
        ("nlbs-preprocess build_shards", "build-shards"),
        ("nlbs-preprocess decode", "build-shards"),
        ("nlbs-preprocess validate", "verify"),
        ("nlbs-preprocess repair", "verify --repair"),
        ("nlbs-preprocess stats", "info"),
        ("nlbs-preprocess reshards", "reshard"),
        ("nlbs-preprocess fantom", "phantom"),
        ("nlbs-generate sample", "draw"),
        ("nlbs-generate interpolation", "interpolate"),
        ("nlbs-evaluate anomalies", "anomaly"),
    ],
)
def test_an_unknown_command_suggests_what_was_meant(
    capsys: pytest.CaptureFixture[str], line: str, meant: str
) -> None:
    assert said(capsys, line) == f"Error: No such command '{line.split()[1]}'. Did you mean {meant}?"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nlbs-preprocess train", "nlbs-train is a program of its own."),
        ("nlbs-preprocess --jobs 2 merge", "give it after the command."),
        ("nlbs-preprocess verify --container tar", "It is an option of build-shards and reshard."),
        ("nlbs-train --ema-decay 0.9", "It is a key of the YAML file of --config: training.ema_decay"),
        ("nlbs-train --resume", "the same command continues a run"),
        ("nlbs-train --num-workers 4", "It is not needed"),
    ],
)
def test_what_is_had_elsewhere_is_said(capsys: pytest.CaptureFixture[str], line: str, says: str) -> None:
    assert says in said(capsys, line)


@pytest.mark.parametrize(
    "line", ["nlbs-train --qqq", "nlbs-preprocess xyzzy", "nlbs-preprocess info --zzz 3"]
)
def test_nothing_is_suggested_where_nothing_is_near(capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert said(capsys, line).endswith("'.")


def test_what_is_meant_but_not_to_be_had_is_not_replaced_by_what_is_spelt_alike() -> None:
    assert options_like("--workers", ["--order", "--verify"]) == []


def test_every_meaning_is_an_option_or_a_command_of_ours() -> None:
    flags = set().union(*(page.flags for page in PAGES))
    assert {f"--{name}" for names in _OPTIONS.values() for name in names.split()} <= flags
    commands = {page.words[-1] for page in PAGES}
    assert {name for names in _COMMANDS.values() for name in names.split()} <= commands


def test_at_most_three_are_suggested() -> None:
    assert len(options_like("--input", ["--csv", "--shards", "--samples", "--checkpoint"])) == 3
    assert commands_like("info", ["info"]) == ["info"]


def test_lists_in_words() -> None:
    assert [or_list(list(words)) for words in ("a", "ab", "abc")] == ["a", "a or b", "a, b or c"]
