"""nlbs-generate as a user calls it.

Also covers: generate/commands/options.py, generate/draw.py, generate/folder.py, generate/png_folder.py.
"""

import errno
import json
import pickle  # noqa: TID251  # to make what must not be opened
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nlbs.cvae import ConditionalVAE
from nlbs.generate import png_folder as samples_module
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.stages.fitted import save_stage
from nlbs.models.stages.grain import LEVELS, Grain, ring_count
from nlbs.models.stages.grain_stage import GRAIN
from tests.generate.conftest import Generate, contents, make_checkpoint, table
from tests.shards.conftest import make_shard_set


def png_text(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        image.load()
        return dict(image.text)  # type: ignore[attr-defined]


def test_it_writes_pngs_a_contact_sheet_and_a_table_that_say_they_are_synthetic(
    generate: Generate, tmp_path: Path
) -> None:
    done = generate(
        *("--view", "CC", "--laterality", "L", "--age", "66"),
        *("--cancer", "yes", "--false-positive", "no", "--num", "18", "--out", tmp_path / "samples"),
    )
    assert done.code == 0, done.err
    rows = table(tmp_path / "samples" / "samples.csv")
    assert len(rows) == 18
    assert {
        (row["view"], row["laterality"], row["age_bin"], row["cancer"], row["false_positive"]) for row in rows
    } == {("CC", "L", ">65", "yes", "no")}
    for row in rows:
        with Image.open(tmp_path / "samples" / row["file"]) as image:
            assert image.mode == "L"
            assert image.size == (32, 32)
        text = png_text(tmp_path / "samples" / row["file"])
        assert (text["Synthetic"], text["View"], text["Age Bin"]) == ("yes", "CC", ">65")
        assert (text["Seed"], text["Index"]) == ("0", row["index"])
        assert (text["Model"], text["Sampler"]) == (row["model"], row["sampler"])
        assert row["synthetic"] == "yes"
    pngs = {path.name for path in (tmp_path / "samples").glob("synthetic-*.png")}
    assert pngs == {row["file"] for row in rows}
    assert png_text(tmp_path / "samples" / "contact_sheet.png")["Synthetic"] == "yes"
    record = json.loads((tmp_path / "samples" / "samples.json").read_text())
    assert record["synthetic"] is True
    assert record["complete"] is True
    assert (record["model"], record["seed"], record["patches"]) == (rows[0]["model"], 0, 18)


def test_a_condition_left_out_is_unknown_in_the_table(generate: Generate, tmp_path: Path) -> None:
    assert generate("--num", 1, "--view", "unknown", "--out", tmp_path / "s").code == 0
    (row,) = table(tmp_path / "s" / "samples.csv")
    assert [row[name] for name in ("view", "laterality", "age_bin", "cancer", "false_positive")] == [""] * 5


def test_a_patch_is_the_same_however_many_are_asked_for(generate: Generate, tmp_path: Path) -> None:
    assert generate("--num", 3, "--out", tmp_path / "few").code == 0
    assert generate("--num", 40, "--out", tmp_path / "many").code == 0
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    names = [f"synthetic-{index:06d}.png" for index in range(3)]
    assert [few[name] for name in names] == [many[name] for name in names]
    assert len({many[name] for name in many if name.startswith("synthetic")}) == 40


def test_the_same_call_again_leaves_all_as_it_is_and_another_one_is_refused(
    generate: Generate, tmp_path: Path
) -> None:
    call = ("--num", 2, "--seed", 5, "--out", tmp_path / "a")
    assert generate(*call).code == 0
    (tmp_path / "a" / "my notes.txt").write_text("mine")
    before = contents(tmp_path / "a")
    again = generate(*call)
    assert again.code == 0
    assert "nothing was left to do" in again.out
    for other, told in (
        ((2, 6), "(seed: 5 there, 6 asked for)"),
        ((3, 5), "(patches: 2 there, 3 asked for)"),
        ((2, 5, "--view", "CC"), "(other conditions for some patches)"),
        ((2, 5, "--temperature", 0.5), "temperature 0.5 asked for)"),
        ((2, 5, "--grid"), "patches: 2 there, 128 asked for"),
    ):
        num, seed, *more = other
        refused = generate("--num", num, "--seed", seed, *more, *call[4:])
        assert refused.code == 1
        assert "--overwrite" in refused.err
        assert told in refused.err
    assert contents(tmp_path / "a") == before
    replaced = generate("--num", 1, "--seed", 6, "--out", tmp_path / "a", "--overwrite")
    assert replaced.code == 0, replaced.err
    assert set(contents(tmp_path / "a")) == {
        *("synthetic-000000.png", "samples.csv", "samples.json", "contact_sheet.png", "my notes.txt")
    }


def test_draws_are_not_continued_with_another_file_beside_the_checkpoint(
    generate: Generate, checkpoint: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copy(checkpoint, tmp_path / "best_model.safetensors"))
    model = ConditionalVAE.load_from_checkpoint(own)
    call = ("--checkpoint", own, "--num", 2, "--out", tmp_path / "a")
    for strength, code in ((0.1, 0), (0.1, 0), (0.2, 1)):
        grain = Grain(torch.full((LEVELS,), strength), torch.ones(ring_count(32)), 32)
        save_stage(own, GRAIN, grain, model)
        done = generate(*call)
        assert done.code == code
    assert "fitted: grain " in done.err
    assert json.loads((tmp_path / "a" / "samples.json").read_text())["fitted"].startswith("grain ")


def test_conditions_that_training_never_met_are_said_to_be_a_guess(
    generate: Generate, checkpoint: Path, tmp_path: Path
) -> None:
    met = {
        "view": [0, 1],
        "laterality": [0, 1],
        "age_bin": [-1],
        "cancer": [-1, 0],
        "false_positive": [-1, 0],
    }
    model = ConditionalVAE.load_from_checkpoint(checkpoint)
    save_checkpoint(tmp_path / "model.safetensors", model, {"conditions": met})
    own = ("--checkpoint", tmp_path / "model.safetensors", "--num", 1, "--laterality", "L")
    known = generate(*own, "--view", "CC", "--cancer", "no", "--out", tmp_path / "known")
    assert known.code == 0, known.err
    assert "guess" not in known.out
    done = generate(*own, "--cancer", "yes", "--age", 66, "--out", tmp_path / "new")
    assert done.code == 0, done.err
    assert (
        "Note: The model met no training patch with view unknown, or with age bin known at all, or with cancer yes: "
        "what it draws for that is a guess."
    ) in done.out
    ends = ("--from", "view=CC,laterality=L,cancer=no", "--to", "view=CC,laterality=L,cancer=yes")
    between = generate("interpolate", *own[:2], *ends, "--steps", 2, "--out", tmp_path / "between")
    assert between.code == 0, between.err
    assert "with cancer yes: what" in between.out


def test_samples_of_an_earlier_release_are_not_overwritten(generate: Generate, tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("file\n")
    (tmp_path / "synthetic-000007.png").write_bytes(b"")
    assert "--overwrite" in generate("--num", 1, "--out", tmp_path).err
    assert generate("--num", 1, "--out", tmp_path, "--overwrite").code == 0
    assert not (tmp_path / "synthetic-000007.png").exists()


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device", "somewhere"), KeyboardInterrupt()]
)
def test_a_call_that_is_interrupted_is_continued_to_the_same_bytes(
    fault: BaseException, generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("--grid", "--view", "CC", "--cancer", "no", "--num", 2, "--out")
    assert generate(*call, tmp_path / "whole").code == 0
    plain, written = samples_module.write_png, []

    def failing(path: Path, *rest: Any) -> None:
        if len(written) == 21:
            raise fault
        written.append(path.name)
        plain(path, *rest)

    monkeypatch.setattr(samples_module, "write_png", failing)
    stopped = generate(*call, tmp_path / "broken")
    assert stopped.code == (1 if isinstance(fault, OSError) else 130)
    assert "Traceback" not in stopped.err
    monkeypatch.setattr(samples_module, "write_png", plain)
    (tmp_path / "broken" / ".synthetic-000021.png.12340000000001.partial").write_bytes(b"half")
    assert not (tmp_path / "broken" / "samples.csv").exists()
    other = generate("--num", 1, "--out", tmp_path / "broken")
    assert other.code == 1
    assert "not all of them drawn" in other.err
    first = (tmp_path / "broken" / "synthetic-000000.png").stat().st_mtime_ns
    assert generate(*call, tmp_path / "broken").code == 0
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert (tmp_path / "broken" / "synthetic-000000.png").stat().st_mtime_ns == first  # not drawn again


def test_what_an_interrupted_overwrite_left_is_not_taken_for_new(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate("--num", 5, "--seed", 1, "--out", tmp_path / "a").code == 0
    monkeypatch.setattr(
        "nlbs.generate.folder._remove_own_files", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    call = ("--num", 5, "--seed", 2, "--out", tmp_path / "a", "--overwrite")
    assert generate(*call).code == 130
    monkeypatch.undo()
    assert generate("--num", 5, "--seed", 1, "--out", tmp_path / "a").code == 1
    assert generate(*call).code == 0
    assert generate("--num", 5, "--seed", 2, "--out", tmp_path / "b").code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_more_than_the_disk_holds_is_refused_before_anything_is_drawn(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=1 << 40, free=5e6))
    for kind in ("png", "shards"):
        refused = generate("--num", 1_000_000, "--out", tmp_path / "s", "--format", kind)
        assert refused.code == 1
        assert "the disk of" in refused.err
    too_many = generate("--num", 10**15, "--out", tmp_path / "s")
    assert too_many.code == 1
    assert "100,000,000" in too_many.err
    assert contents(tmp_path / "s") == {}


def test_a_root_of_real_images_and_a_file_are_no_place_for_samples(
    generate: Generate, tmp_path: Path
) -> None:
    (tmp_path / "images.csv").write_text("row,image\n")
    assert "dataset root of real images" in generate("--num", 1, "--out", tmp_path).err
    (tmp_path / "file").write_text("")
    done = generate("--num", 1, "--out", tmp_path / "file")
    assert done.code == 1
    assert "cannot make the folder" in done.err


def test_a_model_with_skips_is_said_to_be_out_of_its_training(generate: Generate, tmp_path: Path) -> None:
    with_skips = make_checkpoint(tmp_path / "skips.safetensors", skips=True)
    done = generate("--checkpoint", with_skips, "--num", 1, "--out", tmp_path / "s")
    assert done.code == 0, done.err
    assert "never saw in training" in done.out
    assert "never saw" not in generate("--num", 1, "--out", tmp_path / "t").out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--view", "sideways"), "view 'sideways' cannot be read; expected one of CC, MLO\n"),
        (("--view", "XCCL"), "expected one of CC, MLO\n"),
        (("--condition", "view=LCC"), "view 'LCC' cannot be read"),
        (("--age", "200"), "age '200' cannot be read; expected years from 1 to 120"),
        (("--age", "0"), "expected years from 1 to 120"),
        (("--cancer", "perhaps"), "cancer 'perhaps' cannot be read; expected one of no, yes"),
        (
            ("--condition", "density=D"),
            "expected one of view, laterality, age_bin, cancer, false_positive, age\n",
        ),
        (("--condition", "view"), "'view' is no NAME=VALUE"),
        (("--condition", "cancer=no", "--condition", "Cancer=yes"), "the condition cancer is said twice"),
        (("--condition", "false-positive=no", "--false-positive", "no"), "false positive is said twice"),
        (("--condition", "age_bin=0", "--age", "66"), "the condition age bin is said twice"),
        (("--num", "0"), "--num"),
        (("--temperature", "-1"), "--temperature"),
        (("--grid", "--like", "x"), "give one of them"),
        (("--like", "x", "--view", "CC"), "says all conditions"),
        (("--where", "cancer == 1"), "give that too"),
        (("--conditions", "x.csv", "--num", "3"), "no meaning"),
    ],
)
def test_a_wrong_option_is_a_usage_error_and_leaves_nothing(
    options: tuple[str, ...], says: str, generate: Generate, tmp_path: Path
) -> None:
    done = generate("--out", tmp_path / "s", *options)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "s").exists()


def test_a_checkpoint_that_is_none_is_an_error_in_one_sentence(generate: Generate, tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights")
    for path in (tmp_path / "missing.safetensors", tmp_path / "text.safetensors", tmp_path):
        done = generate("--checkpoint", path, "--out", tmp_path / "s")
        assert done.code == 1
        assert done.err.count("\n") == 1


class _RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return _write, (str(self.path), "it ran")


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)


@pytest.mark.parametrize("command", ["draw", "educational", "share", "reconstruct"])
def test_a_checkpoint_made_to_run_code_runs_none(command: str, generate: Generate, tmp_path: Path) -> None:
    bad = tmp_path / "best_model.safetensors"
    bad.write_bytes(pickle.dumps(_RunsCode(tmp_path / "ran")))
    make_shard_set(tmp_path / "real", resolution=32)
    shards = ("--shards", tmp_path / "real") if command in ("share", "reconstruct") else ()
    done = generate(command, "--checkpoint", bad, *shards, "--out", tmp_path / "s")
    assert done.code == 1
    assert "could run code" in done.err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "s").exists()


def test_help_shows_the_flat_call_and_the_commands(generate: Generate) -> None:
    shown = generate("--help").out
    for word in ("--checkpoint", "--conditions", "--grid", "educational", "augment", "share", "rare", "vary"):
        assert word in shown
    unknown = generate("educatonal")
    assert unknown.code == 2
    assert "educatonal" in unknown.err


def test_temperature_zero_draws_the_same_patch_each_time(generate: Generate, tmp_path: Path) -> None:
    assert generate("--num", 3, "--temperature", 0, "--out", tmp_path / "s").code == 0
    pixels = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "s").glob("synthetic-*.png"))]
    np.testing.assert_array_equal(pixels[0], pixels[2])
    assert table(tmp_path / "s" / "samples.csv")[0]["sampler"] == "prior, temperature 0"


def test_a_sheet_of_many_shows_patches_at_equal_distances() -> None:
    assert samples_module.spread(3) == [0, 1, 2]
    assert samples_module.spread(256) == list(range(256))
    assert samples_module.spread(1024) == list(range(0, 1024, 4))
