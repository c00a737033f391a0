"""A model in its folder, to draw with from Python: what nlbs-generate draws, to the byte, as arrays.

nlbs.Generator.from_pretrained("runs/first").draw(view="CC", laterality="L", age=66, cancer=True, n=4, seed=0)
"""

import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.card import CARD, UNKNOWN_LICENCE, licence_of, read_card
from nlbs.config import from_mapping
from nlbs.errors import CheckpointError, ConfigError
from nlbs.files import atomic_file
from nlbs.generate.draw import Call, provenance_of, write
from nlbs.generate.folder import Provenance
from nlbs.generate.plan import Plan, one_condition
from nlbs.manifests.asked import parse_values, text_of
from nlbs.manifests.captions import caption
from nlbs.manifests.schema import Schema
from nlbs.models import card
from nlbs.models.checkpoint import read_metadata
from nlbs.models.contract import GenerativeModel
from nlbs.models.device import choose_device
from nlbs.models.drawing import draw_patches
from nlbs.models.folder import BEST_MODEL, CONFIG, model_file
from nlbs.models.registry import family, load_checkpoint
from nlbs.models.seen import guess, unseen
from nlbs.models.stages.choice import SamplerChoice
from nlbs.models.stages.stage import stages
from nlbs.pictures import sheet_html
from nlbs.system_calls import open_regular
from nlbs.text import counted

_REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True, eq=False, repr=False)
class Patches:
    """Synthetic patches of one call, and the conditions that they were drawn by."""

    images: npt.NDArray[np.uint8]  #: (n, R, R), or (n, R, R, 3) in colour; air 0
    _call: Call
    _plan: Plan
    _provenance: Provenance

    @property
    def conditions(self) -> list[dict[str, str]]:
        """The conditions of each patch in words; "" is unknown."""
        return [self._plan.words(index) for index in range(len(self))]

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write what nlbs-generate writes, to the byte: PNG files, contact sheet and tables; return the folder.

        Raises:
            ConfigError: the folder holds something that is not to be replaced, or the disk is too small.
        """
        call = replace(self._call, out=Path(folder), overwrite=overwrite)
        write(call, self._plan, lambda first: self.images[first:], self._provenance)
        return call.out

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.images)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.images.shape[1:]))
        patches = counted(len(self), "synthetic patch", "synthetic patches")
        words = caption(self._plan.words(0), self._plan.schema).replace("\n", ", ")
        return f"Patches({patches} of {size}, seed {self._call.seed}: {words})"

    def _repr_html_(self) -> str:
        captions = [caption(words, self._plan.schema) for words in self.conditions]
        return sheet_html(list(self.images), captions, "Synthetic patches")


class Generator:
    """A trained model and the stages beside it, opened once; draws depend on it, the conditions and the seed alone."""

    def __init__(self, checkpoint: Path, model: GenerativeModel, choice: SamplerChoice) -> None:
        """Take a model that is opened; :meth:`from_pretrained` opens one.

        Args:
            checkpoint: its file.
            model: of that file, on its device.
            choice: how it draws.
        """
        self.checkpoint, self.model, self.choice = checkpoint, model, choice.of(checkpoint)
        self._sampler = self.choice.open(model, checkpoint)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "auto", **options: Any) -> "Generator":
        """Open the model of a folder.

        Args:
            folder: a run folder, what :meth:`save_pretrained` made of one, its best_model.safetensors, or
                "tiny-phantom", a model of phantoms that comes with the package.
            device: "auto", "cuda" or "cpu".
            options: of the sampler, by the names of nlbs-generate's flags: ``sampler="prior"``, ``guidance=2``,
                ``grain=False``, ...; see :class:`nlbs.models.stages.choice.SamplerChoice`.

        Raises:
            CheckpointError: there is no such model, or it is damaged.
            ConfigError: there is no such device, or an option makes no sense.
        """
        if options.get("guidance") is not None:
            options["guidance"] = text_of(options["guidance"])
        choice = from_mapping(SamplerChoice, options, "from_pretrained")
        checkpoint = model_file(Path(folder))
        return cls(checkpoint, load_checkpoint(checkpoint, choose_device(device)), choice)

    @property
    def schema(self) -> Schema:
        """The conditions that can be asked for."""
        return self.model.schema

    def draw(
        self, conditions: Mapping[str, object] | None = None, /, *, n: int = 1, seed: int = 0, **more: object
    ) -> Patches:
        """Return patches of one combination of conditions, those of ``nlbs-generate --num N --seed SEED``.

        Args:
            conditions: name -> value, for names that are no words of Python; a condition that nobody says is unknown.
            n: how many.
            seed: another one draws other patches.
            more: conditions by name: words as on the command line, numbers as numbers, True and False for yes and no,
                a list for several labels or numbers, None for unknown.

        Raises:
            ConfigError: the model has no such condition, or not that value of it.
            CheckpointError: what the model draws are no patches.

        Warns:
            UserWarning: training never met such conditions, or what else a person should know of the draws.
        """
        if not isinstance(n, int) or n < 1 or not isinstance(seed, int) or seed < 0:
            raise ConfigError(
                f"n is {n!r} and seed {seed!r}; expected whole numbers, n from 1 and seed from 0"
            )
        pairs = [*(conditions or {}).items(), *more.items()]
        said = parse_values([(name, text_of(value)) for name, value in pairs], self.schema)
        call = Call(
            self.checkpoint,
            self.model.device.type,
            seed,
            self.choice,
            Path(),
            False,
            "draw",
            self.schema,
            said,
        )
        plan = one_condition(self.schema, said, n)
        met = unseen(read_metadata(self.checkpoint).get("training"), plan.values, self.schema)
        for note in filter(None, (guess(met) if met else "", self.model.doubts.draws)):
            warnings.warn(note, stacklevel=2)
        images = np.stack(list(draw_patches(self._sampler, plan.values, seed)))
        return Patches(images, call, plan, provenance_of(call, self.model, plan.source))

    def save_pretrained(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Copy model, stages, config.yaml and card into a folder, as the Hugging Face hub has them; return it.

        Args:
            folder: made where it is missing; other files in it stay.
            overwrite: replace a model that it holds.

        Raises:
            ConfigError: the folder holds a model.
            CheckpointError: a file cannot be read.
        """
        target, source = Path(folder), self.checkpoint
        pairs = [(source, target / BEST_MODEL), (source.parent / CONFIG, target / CONFIG)]
        pairs += [(stage.path(source), stage.path(target / BEST_MODEL)) for stage in stages()]
        for there in (target / BEST_MODEL, target / CARD):
            if there.exists() and not overwrite:
                raise ConfigError(f"{there} is there already: choose another folder, or pass overwrite=True")
        for file, copy in pairs:
            if file.exists():
                _copy(file, copy)
            else:
                copy.unlink(missing_ok=True)
        with atomic_file(target / CARD, "w", encoding="utf-8") as text:
            text.write(self._card())
        return target

    def push_to_hub(self, repo_id: str, private: bool = True, token: str | None = None) -> str:
        """Upload what :meth:`save_pretrained` writes to a repository of the Hugging Face hub; return its address.

        Args:
            repo_id: "owner/name"; the repository is made where there is none.
            private: for its owner alone. A model that everybody can load needs a licence in its card and an audit that
                found no copies, as its weights are published.
            token: of the hub; None: as ``hf auth login`` left it.

        Raises:
            ConfigError: huggingface_hub is not installed, ``repo_id`` is none, or the card says too little.
        """
        try:
            import huggingface_hub
        except ImportError:
            raise ConfigError(
                "push_to_hub needs the package huggingface_hub: pip install 'nlbs-cvae[hub]'"
            ) from None
        if not _REPO.fullmatch(repo_id):
            raise ConfigError(f"{repo_id!r} is no repository of the hub; expected OWNER/NAME")
        if not private:
            _check_public(self._card(), self.checkpoint.parent / CARD)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            api = huggingface_hub.HfApi(token=token)
            address = api.create_repo(repo_id, private=private, exist_ok=True)
            if private and not api.repo_info(repo_id).private:
                raise ConfigError(
                    f"{repo_id} is there already, and public: choose another, or push with private=False"
                )
            api.upload_folder(repo_id=repo_id, folder_path=folder)
        return str(address)

    def _card(self) -> str:
        """Return the card of the model; where its folder has none of it, one of what the checkpoint says."""
        text, of_model = read_card(self.checkpoint.parent), card.identity(self.checkpoint)
        if text is not None and (self.checkpoint.name == BEST_MODEL or card.is_of(text, of_model)):
            return text
        training = read_metadata(self.checkpoint)["training"]
        known = {"shard set": training.get("dataset_id", "unknown"), "steps": training.get("step", "unknown")}
        return card.new_card(family(self.model.family).title, {"Training": {"model": of_model, **known}})

    def __repr__(self) -> str:
        return f"Generator({self.model!r}, {self.choice})"

    def _repr_html_(self) -> str:
        return self.model._repr_html_()


def _copy(file: Path, copy: Path) -> None:
    try:
        with open(open_regular(file), "rb") as source, atomic_file(copy) as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise CheckpointError(f"cannot copy {file} to {copy}: {error.strerror or error}") from None


def _check_public(text: str, place: Path) -> None:
    """Raise ConfigError where a card does not allow that everybody loads the model."""
    if licence_of(text) == UNKNOWN_LICENCE:
        raise ConfigError(
            f"the licence of the model is unknown: choose one, under the terms of the data that it was trained on, and "
            f"write it into the line license: of {place}; or push with private=True"
        )
    if (verdict := card.verdict_of(text)) != card.NO_COPIES:
        raise ConfigError(
            f"memorisation: {verdict}, says {place}, and published weights can give away what they memorised; audit "
            "the model with nlbs-evaluate, or push with private=True"
        )
