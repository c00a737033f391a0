"""Guidance: how far a draw goes from what is unknown to what is asked for: by all conditions, or each by itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nlbs.config import nearest
from nlbs.errors import ConfigError
from nlbs.manifests.schema import Schema

if TYPE_CHECKING:
    from torch import Tensor

    #: Gives what a network says of codes that stand so many times in a row: (times * B, ...) of each level.
    Predict = Callable[[dict[str, "Tensor"], int], Sequence["Tensor"]]


@dataclass(frozen=True)
class Guidance:
    """Strengths: 1 is as learned, more exaggerates what a condition changes, 0 leaves it out.

    With v_c what a network says with all conditions known, v_u with all unknown and v_(c without k) with condition k
    unknown, a guided draw follows

        v_u + w (v_c - v_u) + sum over k of (w_k - w) (v_c - v_(c without k)):

    classifier-free guidance of w (Ho & Salimans, 2207.12598), and the difference for conditions that have a w_k of
    their own. Where conditions act on an image independently of each other, v_c - v_u is the sum of the
    v_c - v_(c without k), and each acts with its own strength (as in Liu et al., 2206.01714, Eq. 11).
    """

    overall: float = 1.0  #: w
    of: Mapping[str, float] = field(default_factory=dict)  #: condition -> w_k

    def __post_init__(self) -> None:
        """Raise ConfigError for a strength below 0."""
        for name, strength in {"": self.overall, **self.of}.items():
            if not 0 <= strength < float("inf"):
                where = f" of {name}" if name else ""
                raise ConfigError(
                    f"a guidance{where} of {strength:g} is asked for; expected 0 or more, 1 for none"
                )

    def __str__(self) -> str:
        """Return it as --guidance takes it: "2", or "1,cancer=3"."""
        return ",".join([f"{self.overall:g}", *(f"{name}={value:g}" for name, value in self.of.items())])

    def check(self, schema: Schema) -> None:
        """Raise ConfigError where it names a condition that a model does not have."""
        for name in self.of:
            if name not in schema.names:
                raise ConfigError(
                    f"there is no condition {name!r} to guide by; {nearest(name, list(schema.names))}"
                )

    def within(self, schema: Schema) -> "Guidance":
        """Return what of it a model can follow: the strengths of the conditions that it has."""
        return Guidance(
            self.overall, {name: value for name, value in self.of.items() if name in schema.names}
        )

    def terms(self, names: Sequence[str]) -> list[tuple[float, frozenset[str]]]:
        """Return factors of what a network says, and which conditions are hidden from it then; the first hides none.

        Args:
            names: of all conditions.
        """
        extra = {name: self.of[name] - self.overall for name in names if name in self.of}
        hidden = [(1 - self.overall, frozenset(names))]
        hidden += [(-strength, frozenset({name})) for name, strength in extra.items()]
        return [
            (self.overall + sum(extra.values()), frozenset()),
            *((factor, names) for factor, names in hidden if factor),
        ]

    def follow(self, conditions: Mapping[str, "Tensor"], predict: "Predict") -> list["Tensor"]:
        """Return the guided sum of what a network says, (B, ...) of each level.

        Args:
            conditions: codes, (B,) each.
            predict: asked once, for all terms one after the other: small batches leave most of a processor idle.
        """
        return self.both(conditions, predict)[0]

    def both(
        self, conditions: Mapping[str, "Tensor"], predict: "Predict"
    ) -> tuple[list["Tensor"], list["Tensor"]]:
        """Return what :meth:`follow` gives, and what the network says with all conditions known."""
        import torch

        from nlbs.models.conditioning import unknown_like

        terms = self.terms(list(conditions))
        codes = {
            name: torch.cat([unknown_like(code) if name in hidden else code for _, hidden in terms])
            for name, code in conditions.items()
        }
        parts = [level.chunk(len(terms)) for level in predict(codes, len(terms))]
        known_alone = [level[0] for level in parts]
        if len(terms) == 1:
            return known_alone, known_alone
        found = []
        for known, *others in parts:
            # v_c + sum of factors (v_other - v_c): the factors sum to 1, and what is alike stays exact.
            steps = [factor * (other - known) for (factor, _), other in zip(terms[1:], others, strict=True)]
            found.append(known + sum(steps))
        return found, known_alone


def as_guidance(guidance: "float | Guidance") -> Guidance:
    """Return a guidance; a number is that of all conditions at once.

    Raises:
        ConfigError: it is below 0.
    """
    return guidance if isinstance(guidance, Guidance) else Guidance(guidance)


def check_autoguidance(strength: float) -> None:
    """Raise ConfigError where it is no autoguidance."""
    if not 1 <= strength < float("inf"):
        raise ConfigError(f"an autoguidance of {strength:g} is asked for; expected 1 or more, 1 for none")


def parsed_guidance(words: str, usual: Guidance, schema: Schema) -> Guidance:
    """Return the guidance of "2", "cancer=3" or "1.5,cancer=3,age_bin=1".

    Args:
        words: numbers; one without a name is for all conditions, and leaves nothing of the usual ones.
        usual: what holds for conditions that are not named, where there is no such number.
        schema: the conditions of the model.

    Raises:
        ConfigError: it cannot be read, or names a condition that there is not.
    """
    overall: float | None = None
    of: dict[str, float] = {}
    for part in words.split(","):
        name, equals, number = part.rpartition("=")
        try:
            strength = float(number)
        except ValueError:
            raise _unreadable(words, f"{number.strip()!r} is no number", schema) from None
        name = _named(name, schema) if name.strip() else ""
        if not equals and overall is None:
            overall = strength
        elif name and name not in of:
            of[name] = strength
        else:
            raise _unreadable(words, f"{name} stands twice" if name else "two numbers have no name", schema)
    if overall is None:
        return Guidance(usual.overall, {**usual.of, **of})
    return Guidance(overall, of)


def _named(word: str, schema: Schema) -> str:
    try:
        return schema.find(word).name
    except ConfigError as error:
        raise ConfigError(f"cannot guide by {word.strip()!r}: {error}") from None


def _unreadable(words: str, why: str, schema: Schema) -> ConfigError:
    return ConfigError(
        f"the guidance {words!r} cannot be read: {why}; expected a number, or some like 1.5,cancer=3 (conditions: "
        f"{', '.join(schema.names)})"
    )
