"""What the page answers, as a client on the same machine asks for it."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nlbs.pictures import as_uint8
from nlbs.shards import open_shards
from tests.conftest import some
from tests.preprocess.report.test_page import Reader
from tests.preprocess.view.conftest import TOKEN, Site, served
from tests.shards.conftest import make_shard_set

pytest.importorskip("starlette")

TABS = ("", "images", "counts", "read", "flags", "runs")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/images",
        "/wrong/",
        f"/{TOKEN[:-1]}/",
        f"/{TOKEN}x/",
        f"//{TOKEN}/",
        "/patch/0.png",
        f"/wrong/../{TOKEN}/",
    ],
)
def test_nobody_gets_in_without_the_token(site: Site, path: str) -> None:
    status, headers, body = site.ask(path)
    assert status == 403
    assert TOKEN not in body.decode()
    assert headers["cache-control"] == "no-store"


def test_a_name_that_leads_here_from_elsewhere_is_refused(site: Site) -> None:
    assert site.ask(f"/{TOKEN}/", headers={"Host": "rebound.example"})[0] == 400
    assert site.ask(f"/{TOKEN}/", headers={"Host": f"localhost:{site.port}"})[0] == 200


@pytest.mark.parametrize(
    "path", [*TABS, "view.css", "view.js", "patch/0.png", "metrics?run=first", "nothing"]
)
def test_nothing_that_is_sent_may_be_kept_framed_or_read_by_another_page(site: Site, path: str) -> None:
    _, headers, _ = site.ask(f"/{TOKEN}/{path}", headers={"Origin": "http://other.example"})
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_takes_nothing(site: Site, method: str) -> None:
    assert site.ask(f"/{TOKEN}/", method)[0] == 405


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_is_whole_labelled_and_leads_to_its_own_addresses_alone(site: Site, tab: str) -> None:
    reader = Reader(site.text(tab))
    assert reader.unbalanced == []
    assert reader.open == []
    labels = {attributes.get("for") for tag, attributes in reader.tags if tag == "label"}
    for tag, attributes in some(reader.tags):
        for name in ("src", "href", "action"):
            address = attributes.get(name) or f"/{TOKEN}/"
            inside = address.startswith((f"/{TOKEN}/", "#", "data:,")) or (
                tab == "flags" and address[:6] == "image/"
            )
            assert inside, address
        if tag == "img":
            assert attributes["alt"]
        if tag in ("input", "select") and attributes.get("id") and attributes.get("type") != "checkbox":
            assert attributes["id"] in labels
        assert "style" not in attributes  # which the policy would refuse
    current = [attributes for _, attributes in reader.tags if attributes.get("aria-current") == "page"]
    assert [attributes["href"] for attributes in current] == [f"/{TOKEN}/{tab}"]


def test_a_patch_is_sent_as_it_is_stored(site: Site, dataset_root: Path) -> None:
    with open_shards(dataset_root) as shards:
        for row in (0, len(shards) - 1):
            status, headers, body = site.ask(f"/{TOKEN}/patch/{row}.png")
            assert (status, headers["content-type"]) == (200, "image/png")
            np.testing.assert_array_equal(
                np.asarray(Image.open(io.BytesIO(body))), as_uint8(shards.read([row])[0])
            )
        assert site.ask(f"/{TOKEN}/patch/{len(shards)}.png")[0] == 404


def test_an_image_is_drawn_with_mask_and_patches(site: Site, dataset_root: Path) -> None:
    with open_shards(dataset_root) as shards:
        image = shards.manifest["image"][0].as_py()
    pixels = np.asarray(Image.open(io.BytesIO(site.ask(f"/{TOKEN}/image/{image}.png?whole")[2]))).reshape(
        -1, 3
    )
    colours = {tuple(pixel) for pixel in pixels.tolist()}
    assert {(255, 80, 80), (80, 220, 80)} <= colours
    assert f"patch/{0}.png" in site.text(f"image/{image}")


@pytest.mark.parametrize(
    "path",
    [
        "image/../../sources.csv",
        "image/..%2f..%2fsources.csv.png",
        "image/%2e%2e%2f%2e%2e%2fsources.csv",
        "image/..",
        "patch/..%2f..%2fsources.csv.png",
        "patch/-1.png",
        "view.js/../../dataset.py",
        "sample.png?run=first&file=..%2fmetrics.jsonl",
        "sample.png?run=..%2f..&file=step-00000010.png",
        "metrics?run=..%2ffirst",
        "metrics?run=%2fetc",
    ],
)
def test_no_name_leads_out_of_what_is_looked_at(site: Site, path: str) -> None:
    status, _, body = site.ask(f"/{TOKEN}/{path}")
    assert status in (403, 404)
    assert b"row,image,path" not in body
    assert b"metrics.jsonl" not in body


def test_a_wrong_filter_is_answered_in_place_with_what_was_meant(site: Site) -> None:
    text = site.text("", where="veiw == 'CC'")
    reader = Reader(text)
    assert "did you mean 'view'?" in reader.text
    (field,) = (attributes for tag, attributes in reader.tags if attributes.get("id") == "where")
    assert field["aria-invalid"] == "true"
    assert field["value"] == "veiw == 'CC'"
    assert "patch/" not in text


def test_what_is_typed_stands_on_the_page_as_text(site: Site) -> None:
    text = site.text("", where='"><script>alert(1)</script>', split="<b>", order="<i>", page="<u>")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert not re.search("<[biu]>", text)


def test_a_filter_that_takes_nothing_says_which_part_of_it(site: Site) -> None:
    assert "view == &#39;CC&#39;: " in site.text("", where="view == 'CC' and foreground > 1")


def test_a_set_that_stands_alone_is_shown_with_what_there_is(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "alone", container="zarr")
    with served(tmp_path / "alone") as there:
        assert "patch/0.png" in there.text()
        assert "no decoded images beside this set" in there.text("images")
        assert "no images.csv beside this set" in there.text("read")
        assert "no images.csv beside this set" in there.text("flags")
        assert "no folder of runs" in there.text("runs")
        assert there.ask(f"/{TOKEN}/image/{0:016x}.png")[0] == 404
        assert "4 patches" in there.text(f"image/{0:016x}")


def test_a_damaged_patch_costs_its_picture_and_says_so(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "set")
    shard = tmp_path / "set" / "00000.tar"
    shard.write_bytes(bytes(shard.stat().st_size))
    with served(tmp_path / "set") as there:
        assert "patch/0.png" in there.text()
        assert "00000.tar" in there.text("patch/0.png", status=500)


def test_before_the_first_set_is_cut_its_images_are_there(dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(dataset_root, root, ignore=shutil.ignore_patterns("r64-*"))
    with served(root) as there:
        assert "no complete shard set here yet" in there.text()
        assert "16 images" in there.text("images")
        (root / "images.csv").rename(tmp_path / "images.csv")
        assert "a build decodes" in there.text()
        assert "16 images" in there.text("images")
        name = next(path.name for path in (root / "images.zarr").iterdir() if path.is_dir())
        shutil.copytree(root / "images.zarr" / name, root / "images.zarr" / "one-more")
        assert "17 images" in there.text("images")
        shutil.rmtree(root / "images.zarr" / "one-more")
        assert there.ask(f"/{TOKEN}/image/{name}.png")[0] == 200
        assert "no complete shard set" in there.text("counts", status=404)
        (tmp_path / "images.csv").rename(root / "images.csv")
        (folder,) = dataset_root.glob("r64-*")
        shutil.copytree(folder, root / folder.name)
        assert "patch/0.png" in there.text()
