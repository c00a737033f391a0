"""nlbs-train as a user calls it.

Also covers: train/messages.py.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nlbs.cvae import ConditionalVAE, read_metadata
from nlbs.files import only_one
from nlbs.shards import open_shards
from nlbs.train.cli import main
from tests.shards.conftest import make_shard_set
from tests.train.conftest import guide_command

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nlbs_train(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command, run in this process and in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


SMALL = """
model:
  latent_dim: 4
  encoder: {channels: [8, 16]}
  decoder: {channels: [16, 8, 1], use_skip_connections: false}
training: {epochs: 2}
data: {resolution: 32, batch_size: 16}
"""
#: Says after a run which of the forbidden modules the process has.
WITNESS = """
import sys
from nlbs.train.cli import main
try:
    main(sys.argv[1:])
finally:
    print("modules:", sorted({"pydicom", "joblib", "imagecodecs"} & set(sys.modules)), "torch" in sys.modules)
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_a_run_from_real_shards_needs_no_dicom_library(
    dataset_root: Path, small: Path, tmp_path: Path
) -> None:
    arguments = guide_command(dataset_root, small, tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-c", WITNESS, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "modules: [] True" in done.stdout
    assert re.search(r"^model: [\d,]+ parameters, 32 x 32 pixels$", done.stdout, re.M)
    assert re.search(r"train and [\d,]+ val patches of 64 x 64, area-averaged to 32 x 32", done.stdout)
    assert re.search(
        r"^epoch 2/2, step \d+: train loss .*reconstruction .*kl .*edge .*; val loss ", done.stdout, re.M
    )
    assert f"best: {tmp_path / 'run' / 'best_model.safetensors'}" in done.stdout
    assert done.stderr == ""
    model = ConditionalVAE.load_from_checkpoint(tmp_path / "run" / "best_model.safetensors")
    parameters = re.search(r"([\d,]+) parameters", done.stdout)[1]  # type: ignore[index]
    assert f"{model.num_parameters:,}" == parameters


def test_help_imports_neither_torch_nor_pydantic() -> None:
    code = WITNESS.replace('"pydicom"', '"pydantic"')
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "modules: [] False" in done.stdout
    assert "--shards FOLDER" in done.stdout


def test_a_dry_run_shows_the_configuration_and_the_size_and_writes_nothing(
    nlbs_train: Command, dataset_root: Path, tmp_path: Path
) -> None:
    code, said, _ = nlbs_train(
        "--shards", dataset_root, "--preset", "guide-small", "--dry-run", "--epochs", 7,
        "--kl-weight", 0.5, "--no-augment", "--fit", "crop", "--seed", 3,
    )  # fmt: skip
    assert code == 0
    for line in (
        "epochs: 7",
        "kl_weight: 0.5",
        "rotation_deg: 0.0",
        "fit: crop",
        "seed: 3",
        "resolution: 64",
    ):
        assert line in said
    assert "# 1,660,517 parameters; " in said
    assert re.search(
        r"^# memory of training, an estimate: [\d,]+ MiB at (?:float32|bfloat16) \(parameters 6\.3, ",
        said,
        re.M,
    )
    assert not list(tmp_path.iterdir())


def test_the_run_folder_is_named_after_the_preset(
    nlbs_train: Command, dataset_root: Path, tmp_path: Path
) -> None:
    command = ("--shards", dataset_root, "--preset", "guide-small", "--max-steps", 1, "--batch-size", 2)
    assert nlbs_train(*command)[0] == 0
    values = read_metadata(tmp_path / "runs" / "guide-small" / "last_model.safetensors")
    assert values["training"]["step"] == 1
    with open_shards(dataset_root) as shards:  # guide-small hides nothing, and flips
        met = {name: sorted(codes) for name, codes in shards.occurring("train").items()}
    assert values["training"]["conditions"] == {**met, "laterality": sorted({*met["laterality"], 0, 1})}
    code, said, _ = nlbs_train(*command)
    assert code == 0
    assert "runs/guide-small is finished" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--shards nowhere", r"there is no folder nowhere; make one with"),
        ("--shards ROOT --preset gide", r"no preset 'gide'; did you mean 'guide'"),
        ("--shards ROOT", r"patches of 64 x 64, smaller than the model's 256 x 256"),
        ("--shards ROOT --config missing.yaml", r"cannot read the configuration missing.yaml"),
        ("--shards ROOT --preset guide-small --batch-size 100000", r"not enough for one batch"),
        ("--shards ROOT --preset guide-small --device cuda", r"sees no CUDA device: pass --device cpu"),
    ],
)
def test_an_error_is_one_plain_sentence_and_exit_code_one(
    nlbs_train: Command, arguments: str, message: str, dataset_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, complained = nlbs_train(*arguments.replace("ROOT", str(dataset_root)).split())
    assert code == 1
    assert re.fullmatch(rf"Error: .*{message}.*\n", complained), complained


def test_wrong_usage_is_exit_code_two(nlbs_train: Command) -> None:
    assert nlbs_train()[0] == 2
    assert nlbs_train("--shards", "x", "--batch-size", "0")[0] == 2


def test_ctrl_c_saves_and_the_same_command_continues(
    nlbs_train: Command, dataset_root: Path, small: Path, tmp_path: Path
) -> None:
    small.write_text(SMALL.replace("epochs: 2", "epochs: 100000"))
    command = guide_command(dataset_root, small, tmp_path / "run")
    with subprocess.Popen(
        [sys.executable, "-m", "nlbs.train", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        said, complained = process.communicate(timeout=240)
    assert process.returncode == 130, complained
    assert complained.strip() == "Interrupted. The same command continues where it stopped."
    stopped = re.search(r"saved .*last_state\.pt\nstopped at step ([\d,]+)\n", said)
    assert stopped is not None, said
    code, said, _ = nlbs_train(*command, "--max-steps", int(stopped[1].replace(",", "")) + 1)
    assert code == 0
    assert f"continues at step {stopped[1]} " in said


def test_two_processes_do_not_train_into_one_folder(
    nlbs_train: Command, dataset_root: Path, small: Path, tmp_path: Path
) -> None:
    command = [*guide_command(dataset_root, small, tmp_path / "run"), "--max-steps", 1]
    with only_one(tmp_path / "run", "another test"):
        code, _, complained = nlbs_train(*command)
    assert code == 1
    assert "nlbs-train is at work in" in complained
    assert nlbs_train(*command)[0] == 0


def test_a_run_folder_that_cannot_be_made_is_explained(
    nlbs_train: Command, dataset_root: Path, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    run = tmp_path / "file" / "run"
    code, _, complained = nlbs_train(
        "--shards", dataset_root, "--preset", "guide", "--config", small, "--run", run
    )
    assert code == 1
    assert f"cannot make the folder {run}" in complained


def test_auto_says_which_preset_it_is_and_takes_its_size(nlbs_train: Command, dataset_root: Path) -> None:
    code, said, told = nlbs_train(
        "--shards", dataset_root, "--preset", "auto", "--device", "cpu", "--dry-run"
    )
    assert code == 0, told
    assert "preset: latent-diffusion-small, the best generator here, at 64 x 64" in told
    assert "family: latent-diffusion" in said
    assert "resolution: 64" in said


def test_a_dry_run_shows_which_patches_and_how_often(nlbs_train: Command, dataset_root: Path) -> None:
    code, said, complained = nlbs_train(
        "--shards", dataset_root, "--preset", "guide-small", "--batch-size", 8, "--dry-run",
        "--where", "view == 'MLO'", "--balance", "cancer, laterality", "--order", "window",
    )  # fmt: skip
    assert code == 0, complained
    with open_shards(dataset_root) as shards:
        train, val = (len(shards.rows(split, "view == 'MLO'")) for split in ("train", "val"))
        codes = shards.conditions(shards.rows("train", "view == 'MLO'"))
    assert f"# 1,660,517 parameters; {train:,} training and {val:,} validation patches;" in said
    assert "# filter: view == 'MLO'\n# order: window, 8 streams of 16 shards at a time\n" in said
    lines = re.findall(
        r"^# share: (.*): ([\d,]+) patches, ([\d.]+)% of all, ([\d.]+)% of each batch$", said, re.M
    )
    names = {"L": 0, "R": 1}
    for name, patches, natural, _ in lines:
        found = re.fullmatch(r"cancer=([01]) laterality=([LR])", name)
        assert found is not None, name
        own = (codes["cancer"] == int(found[1])) & (codes["laterality"] == names[found[2]])
        assert int(patches.replace(",", "")) == own.sum()
        assert float(natural) == pytest.approx(100 * own.mean(), abs=0.01)
    assert sum(int(line[1].replace(",", "")) for line in lines) == train
    assert sum(float(line[3]) for line in lines) == pytest.approx(100, abs=0.1)
    assert re.search(r"balance:\n  - cancer\n  - laterality\n", said)


def test_two_sets_are_trained_on_in_given_shares_and_the_run_continues(
    nlbs_train: Command, dataset_root: Path, small: Path, tmp_path: Path
) -> None:
    make_shard_set(tmp_path / "second", patches=64, resolution=64)
    command = [
        "--shards",
        dataset_root,
        "--shards",
        tmp_path / "second",
        "--preset",
        "guide",
        "--config",
        small,
        "--run",
        "run",
    ]
    command += ["--device", "cpu", "--where", "view is not null", "--balance", "view"]
    code, said, complained = nlbs_train(*command, "--mix", "3,1", "--max-steps", 1)
    assert code == 0, complained
    assert f"(0.75), {tmp_path / 'second'} (0.25): " in said
    shares = [float(share) for share in re.findall(r"^share: .* ([\d.]+)% of each batch$", said, re.M)]
    assert sum(shares[:2]) == pytest.approx(75, abs=0.02)
    assert sum(shares) == pytest.approx(100, abs=0.05)
    values = read_metadata(tmp_path / "run" / "last_model.safetensors")["training"]
    assert (values["where"], values["balance"]) == ("view is not null", ["view"])
    assert values["conditions"]["view"] == [0, 1]  # of both sets, and never unknown
    code, said, complained = nlbs_train(*command, "--mix", "0.75,0.25", "--max-steps", 2)  # the same ratio
    assert code == 0, complained
    assert "continues at step 1 " in said
    code, _, complained = nlbs_train(*command, "--mix", "1,1", "--max-steps", 3)
    assert code == 1
    assert "was trained on the shard set with id" in complained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shards", "ROOT"], r"2 shard sets are given; say what share .* --mix 1,1"),
        (
            ["--shards", "ROOT", "--mix", "1,1", "--generation", "1"],
            r"--generation 1 is that of one shard set, but 2",
        ),
        (["--generation", "7"], r"has no generation 7"),
        (["--mix", "0.5,0.5"], r"1 shard sets cannot be mixed by 0.5, 0.5"),
        (["--where", "view = 'CC'"], r"the filter .* cannot be read"),
        (
            ["--where", "age_years > 200"],
            r"leaves nothing of the split 'train': of \d+ patches it takes none",
        ),
        (["--balance", "canser"], r"no column 'canser'; did you mean 'cancer'"),
    ],
)
def test_patches_that_cannot_be_chosen_so_are_explained(
    nlbs_train: Command, arguments: list[str], message: str, dataset_root: Path
) -> None:
    given = [argument.replace("ROOT", str(dataset_root)) for argument in arguments]
    code, said, complained = nlbs_train(
        "--shards", dataset_root, "--preset", "guide-small", "--dry-run", *given
    )
    assert (code, said) == (1, "")  # not at the end of a hundred lines of configuration
    assert re.fullmatch(rf"Error: .*{message}.*\n", complained), complained


def test_a_run_that_damage_has_stopped_goes_on_with_other_patches_in_its_place(
    nlbs_train: Command, small: Path, tmp_path: Path
) -> None:
    one = {
        "split": "train",
        "view": "CC",
        "laterality": "L",
        "age_years": 50,
        "age_bin": 1,
        "cancer": 0,
        "false_positive": 0,
    }
    alike = {name: [value] * 32 for name, value in one.items()}
    make_shard_set(tmp_path / "set", patches=32, resolution=32, shards=1, columns=alike)
    with open_shards(tmp_path / "set") as shards:
        row = shards.manifest.slice(5, 1).to_pylist()[0]
    with (tmp_path / "set" / row["shard"]).open("r+b") as file:
        file.seek(row["offset"])
        file.write(bytes(64))
    command = guide_command(tmp_path / "set", small, "run")
    code, _, complained = nlbs_train(*command)
    assert code == 1
    assert "its checksum does not match" in complained
    with pytest.warns(UserWarning, match="stands in for it"):
        code, said, complained = nlbs_train(*command, "--on-damage", "replace")
    assert code == 0, complained
    assert re.search(r"^epoch 2/2, .* waiting for data, damaged patches replaced: 1$", said, re.M)
    assert re.search(r"^done: .* steps skipped, damaged patches replaced: 1$", said, re.M)
    code, said, complained = nlbs_train(*command, "--verify", "off", "--epochs", 3)
    assert code == 0, complained
    assert "replaced" not in said


def test_shares_that_are_no_numbers_are_wrong_usage(nlbs_train: Command, dataset_root: Path) -> None:
    code, _, complained = nlbs_train("--shards", dataset_root, "--mix", "much,little")
    assert code == 2
    assert "'much,little' is not a list of numbers such as 0.7,0.3" in complained
