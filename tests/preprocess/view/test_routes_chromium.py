"""The page in a headless Chromium, as a person with a keyboard uses it. Skipped where there is none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlbs.shards import open_shards
from tests.preprocess.view.conftest import Site

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def browser_page(site: Site) -> Iterator[Any]:
    """A page that fails the test where the console complains or anything else than the site is asked."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium here")
    with (
        playwright.sync_playwright() as run,
        run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page, said, asked = browser.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        yield page
        assert said == []
        assert [url for url in asked if not url.startswith((site.url, "data:"))] == []


def shown(page: Any) -> list[str]:
    """Gives the pictures that are on the page, and whether all could be read."""
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    return page.evaluate("[...document.images].map((image) => image.src.split('/').slice(-2).join('/'))")  # type: ignore[no-any-return]


def test_the_keyboard_filters_patches_and_finds_images_and_runs(
    browser_page: Any, site: Site, dataset_root: Path
) -> None:
    page = browser_page
    with open_shards(dataset_root) as shards:
        # Rows stand in the order of secret names: the view that the first page does not begin with changes the page.
        first = shards.manifest["view"][int(shards.rows()[0])].as_py()
        where = f"view == '{'MLO' if first == 'CC' else 'CC'}' and cancer == 0"
        every, others = (shards.rows(where=asked)[:48].tolist() for asked in (None, where))
    page.goto(site.url)
    assert shown(page) == [f"patch/{row}.png" for row in every]
    page.get_by_label("Filter").focus()
    page.keyboard.type(where)
    with page.expect_navigation(url="**where=*"):  # begun before the key: the old page is loaded, too
        page.keyboard.press("Enter")
    assert shown(page) == [f"patch/{row}.png" for row in others] != [f"patch/{row}.png" for row in every]

    page.get_by_label("Filter").fill("canser == 0")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "did you mean 'cancer'?" in page.get_by_role("alert").inner_text()

    page.get_by_role("link", name="Images").press("Enter")
    with page.expect_navigation(url="**/image/*"):
        page.locator("figure a").first.press("Enter")
    assert len(shown(page)) > 1


def test_curves_follow_the_runs(browser_page: Any, site: Site) -> None:
    page = browser_page
    page.goto(f"{site.url}runs")
    curve = page.get_by_role("img", name="total, by epoch")
    curve.wait_for()
    assert curve.locator("path").count() == 4  # training and validation of two runs
    assert "first val 0.1" in curve.get_attribute("aria-label")
    page.get_by_role("checkbox", name="second", exact=True).uncheck()
    assert curve.locator("path").count() == 2
    assert page.get_by_role("img", name="Samples of first, step-00000010.png").count() == 1
    page.get_by_text("6 rows of 1 run", exact=True).wait_for()
    assert site.runs is not None
    with (site.runs / "first" / "metrics.jsonl").open("a") as file:
        file.write(
            json.dumps({"kind": "epoch", "step": 40, "epoch": 3, "train_total": 0.5, "val_total": 0.7}) + "\n"
        )
    page.get_by_role("img", name="first val 0.7").wait_for()
