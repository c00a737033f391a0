"""Pages in headless Chromium: they draw the command's patches, ask nothing of others, and can be used by everybody.

Also covers: generate/page/graphs.py, generate/commands/page.py.
"""

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from nlbs.generate.generator import Generator
from nlbs.manifests.schema import NLBS
from nlbs.models import card
from tests.conftest import some
from tests.generate.conftest import Generate
from tests.generate.page.conftest import audited
from tests.generate.test_cli_other_schema import SCHEMA, registered, toy  # noqa: F401  # a fixture
from tests.generate.test_generator import make_run

#: Another seed than a number of JavaScript holds.
SEED = 12345678901234567890
LICENCE = "CC BY 4.0, the phantom"
_PIXELS = """() => [...document.querySelectorAll("#patches canvas")].map((canvas) =>
  [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0))"""
_RESET = """() => {
  document.getElementById("controls").reset();
  document.getElementById("change").dispatchEvent(new Event("change", { bubbles: true }));
  document.querySelector("details").open = false;
}"""
#: The contrast of a text and what it stands on (WCAG 2.2, 1.4.3).
_CONTRAST = """(selector) => {
  const light = (colour) => colour.match(/\\d+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((total, part, i) => total + part * [0.2126, 0.7152, 0.0722][i], 0);
  let element = document.querySelector(selector);
  const text = light(getComputedStyle(element).color);
  while (getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)") element = element.parentElement;
  const [high, low] = [text, light(getComputedStyle(element).backgroundColor)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}"""


class Visit:
    """A page that is looked at, and what it asked for and complained of."""

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_page(viewport={"width": 1000, "height": 900})
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """Return the pictures, once those of all controls are drawn."""
        self.page.wait_for_selector('#patches[aria-busy="false"]', timeout=120_000)
        pixels = [np.array(one, np.uint8) for one in self.page.evaluate(_PIXELS)]
        edge = int(len(pixels[0]) ** 0.5)
        return [one.reshape(edge, edge) for one in pixels]

    def choose(self, label: str, word: str) -> None:
        self.page.get_by_role("combobox", name=label, exact=True).select_option(word)

    def fill(self, label: str, word: str) -> None:
        box = self.page.get_by_label(label, exact=True)
        box.fill(word)
        box.press("Tab")

    @property
    def status(self) -> str:
        return str(self.page.locator("#status").inner_text())


@pytest.fixture(scope="module")
def pages(
    cvae_run: Path,
    latent_run: Path,
    dataset_root: Path,
    has_runtime: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Pages: ``several`` files of the conditional VAE, a ``single`` one of latent diffusion with quizzes, ``toy``."""
    from click.testing import CliRunner

    from nlbs.generate.cli import cli

    folder = tmp_path_factory.mktemp("pages")
    (folder / "toy-run").mkdir()
    toy(folder / "toy-run", SCHEMA)
    real = ("--real-from", dataset_root, "--split", "train", "--licence", LICENCE)
    for run, name, more in (
        (cvae_run, "several", ("--flow-steps", 2, "--seed", SEED)),
        (audited(folder / "toy-run"), "toy", ()),
        (latent_run, "single", ("--single-file", "--quiz", 2, *real)),
    ):
        words = ["page", "--checkpoint", run, "--out", folder / name, *more]
        done = CliRunner().invoke(cli, [*map(str, words)])
        assert done.exit_code == 0, done.output
        apart = re.search(r"differ by (\S+) at most", done.output)
        assert apart is not None
        assert float(apart[1]) < 1e-5
        if name != "single":
            for file in some((folder / name).glob("*.onnx")):
                assert b".py" not in file.read_bytes(), "lines of code, and where they lie on this machine"
    return folder


@pytest.fixture(scope="module")
def opened(browser: Any, pages: Path) -> Iterator[Visit]:
    visit = Visit(browser, (pages / "single" / "index.html").as_uri())
    yield visit
    visit.page.close()


@pytest.fixture
def single(opened: Visit) -> Visit:
    """The page in one file, each control as at first."""
    opened.page.evaluate(_RESET)
    opened.pictures()
    return opened


def test_patch_i_is_the_commands_and_nothing_is_asked_of_others(
    browser: Any, pages: Path, served: Callable[[Path], str], cvae_run: Path
) -> None:
    address = served(pages / "several")
    visit = Visit(browser, address)
    generator = Generator.from_pretrained(cvae_run, "cpu", flow_steps=2)
    assert "autoguidance 1.5, with grain" in str(generator.choice)
    assert within_a_level(visit.pictures(), generator.draw(n=4, seed=SEED).images)
    visit.choose("view", "CC")
    visit.choose("cancer", "yes")
    visit.fill("First patch", "2")
    visit.fill("Number", "1")
    expected = generator.draw(n=3, seed=SEED, view="CC", cancer=True).images
    assert within_a_level(visit.pictures(), expected[2:])
    assert visit.faults == []
    assert {url for url in visit.asked if not url.startswith((address, "blob:", "data:"))} == set()
    visit.page.close()


def test_labels_and_numbers_are_controls_too_and_a_model_without_passes_draws(
    browser: Any, pages: Path, served: Callable[[Path], str]
) -> None:
    visit = Visit(browser, served(pages / "toy"))
    generator = Generator.from_pretrained(pages / "toy-run", "cpu")
    assert within_a_level(visit.pictures(), generator.draw(n=4).images)
    assert visit.page.get_by_label("Guidance").count() == 0
    visit.choose("density", "C")
    visit.page.get_by_role("group", name="findings").get_by_label("Nodule").check()
    visit.fill("across", "0.5")
    visit.fill("down", "0.25")
    expected = generator.draw(n=4, density="C", findings=["Nodule"], position=(0.5, 0.25)).images
    assert within_a_level(visit.pictures(), expected)
    assert (expected != generator.draw(n=4).images).any()
    assert visit.faults == []
    visit.page.close()


def within_a_level(found: list[npt.NDArray[np.uint8]], expected: npt.NDArray[np.uint8]) -> bool:
    return bool(np.abs(np.stack(found).astype(int) - expected).max() <= 1)


def test_one_file_opens_from_a_disk_and_draws_what_the_command_does(single: Visit, latent_run: Path) -> None:
    generator = Generator.from_pretrained(latent_run, "cpu")
    assert within_a_level(single.pictures(), generator.draw(n=4).images)
    single.fill("Guidance", "2")
    assert within_a_level(
        single.pictures(), Generator.from_pretrained(latent_run, "cpu", guidance=2).draw(n=4).images
    )
    single.page.get_by_text("Guidance by condition").click()
    single.page.locator("#guidance-cancer").fill("3")
    single.page.locator("#guidance-cancer").press("Tab")
    of_cancer = Generator.from_pretrained(latent_run, "cpu", guidance="2,cancer=3")
    assert within_a_level(single.pictures(), of_cancer.draw(n=4).images)
    assert single.faults == []
    assert [url for url in single.asked if not url.startswith(("blob:", "data:"))] == single.asked[:1]


def test_the_keyboard_changes_the_picture_and_names_are_said(single: Visit) -> None:
    page, first = single.page, single.pictures()
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == f"condition-{NLBS.names[0]}"
    page.keyboard.press("ArrowDown")
    assert any((a != b).any() for a, b in zip(first, single.pictures(), strict=True))
    for condition in NLBS:
        assert page.get_by_role("combobox", name=condition.label, exact=True).count() == 1
    for name in ("Seed", "Number", "First patch", "Guidance"):
        assert page.get_by_label(name, exact=True).count() == 1
    assert page.get_by_role("img", name=re.compile("^Synthetic patch 3: view CC, ")).count() == 1
    assert re.search(r"4 synthetic patches in .* ms a pass", single.status)
    reached = set()
    for _ in range(30):
        reached.add(page.evaluate("() => document.activeElement.textContent.slice(0, 25)"))
        page.keyboard.press("Tab")
    assert {"Download as PNG", "normal", "cancer", "false positive"} <= reached
    contrasts = {
        what: page.evaluate(_CONTRAST, what)
        for what in ("h1", "figcaption", "footer", "button", "button:disabled")
    }
    assert min(contrasts.values()) >= 4.5, contrasts


def test_what_a_control_cannot_hold_is_said_and_draws_nothing(single: Visit) -> None:
    single.fill("Seed", "minus one")
    assert "A control holds what it cannot" in single.status
    single.fill("Seed", "1")
    single.pictures()


def test_one_condition_is_changed_beside_each_other(single: Visit, latent_run: Path, tmp_path: Path) -> None:
    single.choose("Change", "cancer")
    single.page.locator("#changed select").select_option("yes")
    pictures = single.pictures()
    assert "Red is brighter" in single.status
    generator = Generator.from_pretrained(latent_run, "cpu")
    assert within_a_level(pictures[0::3], generator.draw(n=4).images)
    assert within_a_level(pictures[1::3], generator.draw(n=4, cancer=True).images)
    assert (
        single.page.get_by_role("img", name=re.compile("Patch 0, difference, mean .*; red: brighter")).count()
        == 1
    )
    with single.page.expect_download() as download:
        single.page.get_by_role("button", name="Download as PNG").click()
    download.value.save_as(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        sheet.load()
        assert sheet.text["Synthetic"] == "yes"  # type: ignore[attr-defined]
        assert sheet.text["Seed"] == "0"  # type: ignore[attr-defined]
        burnt = np.asarray(sheet.convert("RGB"))[18 + 192 - 30 : 18 + 192, :192]
    # Letters in yellow, which no grey patch has.
    assert (burnt[..., 0].astype(int) - burnt[..., 2] > 100).sum() > 500


def test_a_quiz_counts_and_keeps_the_answers(single: Visit, tmp_path: Path) -> None:
    quiz = single.page.locator("#quiz-0")
    for _ in range(6):  # two of each kind
        quiz.get_by_role("button", name="normal", exact=True).click()
        if not quiz.get_by_role("button", name="Next").is_disabled():
            quiz.get_by_role("button", name="Next").click()
    # Wilson's interval of 2 of 6, from the closed form: (x + z^2 / 2 +- z sqrt(x (1 - x / n) + z^2 / 4)) / (n + z^2)
    assert quiz.locator(".score").inner_text() == "2 of 6 right, 33 % (95 % interval 10 % to 70 %)"
    with single.page.expect_download() as download:
        quiz.get_by_role("button", name="Download answers").click()
    download.value.save_as(tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["right"] for row in rows] == ["yes" if row["truth"] == "normal" else "no" for row in rows]
    assert sorted(row["truth"] for row in rows) == sorted(2 * ["normal", "cancer", "false positive"])
    assert single.faults == []


@pytest.mark.parametrize("verdict", ["not proven", "copies", "not audited"])
def test_a_model_that_may_give_away_patients_is_refused(
    verdict: str, generate: Generate, tmp_path: Path, dataset_root: Path
) -> None:
    (tmp_path / "run").mkdir()
    run = audited(make_run(tmp_path / "run"), verdict)
    real = ("--quiz", 2, "--real-from", dataset_root, "--licence", "CC0")
    for more in ((), real):
        done = generate("page", "--checkpoint", run, "--out", tmp_path / "page", *more)
        assert done.code == 1
        assert f"memorisation: {verdict}, and the weights in a page are published weights" in done.err
        assert "nlbs-evaluate --checkpoint" in done.err
        assert not (tmp_path / "page").exists()


def test_a_model_of_phantoms_needs_no_audit_but_for_real_patches(
    generate: Generate, dataset_root: Path, tmp_path: Path
) -> None:
    words = ("page", "--checkpoint", "tiny-phantom", "--out", tmp_path / "page", "--runtime", tmp_path)
    assert "holds no ort" in generate(*words).err  # the step after
    real = ("--quiz", 2, "--real-from", dataset_root, "--licence", "CC0")
    assert "memorisation: not audited" in generate(*words, *real).err


def test_a_verdict_on_other_weights_is_none(generate: Generate, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = audited(make_run(tmp_path / "run"))
    (run / "best_model.flow.safetensors").unlink()
    assert card.verdict_on(run / "best_model.safetensors") == "not audited"
    assert (
        "memorisation: not audited" in generate("page", "--checkpoint", run, "--out", tmp_path / "page").err
    )


def test_real_patches_need_a_quiz_and_a_licence(generate: Generate, cvae_run: Path, tmp_path: Path) -> None:
    for more in (("--quiz", 2), ("--licence", "CC0"), ("--quiz", 2, "--licence", " ")):
        done = generate("page", "--checkpoint", cvae_run, "--out", tmp_path, "--real-from", tmp_path, *more)
        assert done.code == 2
        assert "give --quiz and --licence too" in done.err


def test_a_page_is_replaced_on_request_alone(generate: Generate, latent_run: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    done = generate("page", "--checkpoint", latent_run, "--out", tmp_path)
    assert done.code == 1
    assert "holds index.html already" in done.err
    assert (tmp_path / "index.html").read_text() == "mine"


def test_real_patches_stand_beside_their_licence(single: Visit) -> None:
    quiz = single.page.locator("#quiz-1")
    assert quiz.get_by_text(f"Real patches: {LICENCE}", exact=True).count() == 1
    quiz.get_by_role("button", name="real", exact=True).press("Enter")
    assert re.fullmatch("(Right|Wrong): it is (real|synthetic).", quiz.get_by_role("status").inner_text())
    assert single.page.evaluate("() => document.activeElement.textContent") == "Next"
