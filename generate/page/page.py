"""A model as a page that draws in a browser: graphs of ONNX, the sampler as a table of sums, no server."""

import base64
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from nlbs.card import CARD, licence_of, read_card
from nlbs.errors import ConfigError
from nlbs.files import atomic_file, only_one
from nlbs.generate.draw import Call, open_model
from nlbs.generate.page.graphs import GRAPHS, check_packages, graphs_of
from nlbs.generate.page.quiz import Quiz, quiz_of_kinds, quiz_of_real
from nlbs.generate.page.runtime import BINARY, CODE, DIGESTS, VERSION, runtime
from nlbs.manifests.schema import Schema
from nlbs.models import card
from nlbs.models.contract import GenerativeModel
from nlbs.models.drawing import Sampler
from nlbs.models.folder import PRETRAINED
from nlbs.models.guidance import Guidance, parsed_guidance
from nlbs.models.passes import Portable
from nlbs.paths import AnyPath
from nlbs.pictures import html_page

INDEX = "index.html"
_SCRIPTS = ("sampler.js", "page.js", "quiz.js")  #: one after the other, one module


@dataclass(frozen=True)
class Asked:
    """What a page has beside the model."""

    single_file: bool = False  #: everything in index.html, which opens from a disk
    quiz: int | None = None  #: cases of each kind
    real: AnyPath | None = None  #: shards whose patches the quiz shows
    licence: str = ""  #: of those
    split: str = "val"  #: of those
    runtime: Path | None = None  #: folder with ONNX Runtime Web; None: the user's cache, or npm


def write_page(call: Call, asked: Asked) -> None:
    """Write the page of a model into a folder, and say what came of it.

    Raises:
        CheckpointError: the model cannot be used, or its graphs draw something else.
        ConfigError: its audit did not find it free of copies, or what is asked for cannot be had.
    """
    audit = _audit(call, asked)
    if (call.out / INDEX).exists() and not call.overwrite:
        raise ConfigError(f"{call.out} holds {INDEX} already: choose another --out, or pass --overwrite")
    check_packages()
    opened = open_model(call, "chosen on the page")
    sampler = call.sampler.open(opened.model, call.checkpoint)
    portable = sampler.portable()
    files = runtime(asked.runtime, click.echo)
    quizzes = _quizzes(call, asked, sampler, opened.model)
    text = read_card(call.checkpoint.parent) or ""
    facts = {
        "guidance": _guidance(call, sampler.schema),
        "edge": opened.model.resolution,
        "channels": opened.model.image.channels,
        "seed": str(call.seed),
        "text": opened.provenance.text(),
        "doubts": call.sampler.doubts(opened.model, call.checkpoint),
        "quizzes": [quiz.as_json() for quiz in quizzes],
        "audit": audit,
        "licence": licence_of(text),
        "runtime": {"version": VERSION, "code": CODE, "binary": BINARY},
    }
    graphs, apart = graphs_of(sampler, portable)
    with only_one(call.out, "nlbs-generate"):
        written = _write(call, asked.single_file, {**_drawing(sampler, portable), **facts}, files | graphs)
    click.echo(f"Graphs and torch differ by {apart:.1e} at most, on images in [-1, 1]")
    click.echo(f"{call.out / INDEX}: {written / 1e6:.1f} MB in all; {_how_to_open(call.out, asked)}")


def _audit(call: Call, asked: Asked) -> str:
    """Return what is known of copies among a model's draws. Raises ConfigError: too little to publish it."""
    verdict = card.verdict_on(call.checkpoint)
    if verdict == card.NO_COPIES:
        return verdict
    if PRETRAINED in call.checkpoint.parents and asked.real is None:
        return "none of a person, as it learned from phantoms alone"
    raise ConfigError(
        f"memorisation: {verdict}, and the weights in a page are published weights, which give away what they "
        f"memorised; audit the model with: nlbs-evaluate --checkpoint {call.checkpoint} --shards SHARDS --out "
        f"report/ --only memorisation, which writes the verdict into {call.checkpoint.parent / CARD}; only "
        f"where that is {card.NO_COPIES!r} a page is made"
    )


def _how_to_open(folder: Path, asked: Asked) -> str:
    if asked.single_file:
        return "open it in a browser"
    return (
        f"a browser opens it from a web server alone, such as: python -m http.server -d {folder}; made with "
        "--single-file, from a disk too"
    )


def _quizzes(call: Call, asked: Asked, sampler: Sampler, model: GenerativeModel) -> list[Quiz]:
    if asked.quiz is None:
        return []
    found = [quiz_of_kinds(sampler, asked.quiz, call.seed)]
    if asked.real is not None:
        click.echo(f"The page holds real patches of {asked.real}, licence: {asked.licence}")
        found.append(
            quiz_of_real(
                sampler, model, call.checkpoint, asked.real, asked.split, asked.quiz, call.seed, asked.licence
            )
        )
    return found


def _guidance(call: Call, schema: Schema) -> dict[str, Any]:
    usual = parsed_guidance(call.sampler.guidance or "1", Guidance(), schema)
    return {"overall": usual.overall, "of": dict(usual.of)}


def _drawing(sampler: Sampler, portable: Portable) -> dict[str, Any]:
    """Return what the page has to know to draw, as JSON values."""
    passes = portable.passes
    table = None
    if passes is not None:
        table = {name: getattr(passes, name) for name in ("levels", "at", "inputs", "result", "autoguidance")}
        table["weak"] = passes.weak is not None
    conditions = [{**values, "label": c.label, "coded": c.is_coded} for values, c in
                  zip(sampler.schema.as_json(), sampler.schema, strict=True)]  # fmt: skip
    return {"conditions": conditions, "noise": [list(s) for s in sampler.noise_shapes], "passes": table}


def _write(call: Call, single_file: bool, values: Mapping[str, Any], files: Mapping[str, bytes]) -> int:
    """Write the page, index.html last; return its bytes."""
    (call.out / INDEX).unlink(missing_ok=True)
    inside = {name: base64.b64encode(data).decode() for name, data in files.items() if single_file}
    room = importlib.resources.files(__package__)
    code = "\n".join(room.joinpath(name).read_text(encoding="utf-8") for name in _SCRIPTS)
    for name in {*DIGESTS, *GRAPHS}:
        (call.out / name).unlink(missing_ok=True)
    for name in files.keys() - inside.keys():
        with atomic_file(call.out / name) as file:
            file.write(files[name])
    page = html_page(__package__, lambda value: value, page=values, code=code, inside=inside)
    with atomic_file(call.out / INDEX, "w", encoding="utf-8") as text:
        text.write(page)
    return len(page.encode()) + sum(len(data) for data in files.values() if not single_file)
