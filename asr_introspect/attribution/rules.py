"""LRP rules as declarations: which parts of input, weight and bias a rule takes, and how it divides.

Every rule is ``R_i = sum_p c_p sum_(a, w) a(x)_i sum_j w(W)_ij R_j / z_pj`` with ``z_pj = sum_(a, w) sum_i
w(W)_ij a(x)_i + b_p(bias)_j``: a tuple of :class:`Part`. The sweep does the rest for every type of linear
layer. Sources: Bach et al. 2015 (0, epsilon, alpha-beta), Montavon et al. 2017 (z+, w^2, z^B), Lapuschkin et
al. 2019 (flat), Andéol, Montavon et al. 2019 (gamma; signed inputs as in ``methods.md`` 5).

A rule of one's own::

    EpsilonPlus = Rule("epsilon-plus", (Part(((POSITIVE, POSITIVE_WEIGHT),), epsilon=1e-3),))
    attribute(..., composite={nn.Conv1d: EpsilonPlus})
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from asr_introspect.errors import UsageError, unknown_name

InputPart = Literal["input", "positive", "negative", "ones", "low", "high"]
Transform = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class WeightPart:
    """A named function of a weight or bias; the name is its identity."""

    name: str
    function: Transform = field(compare=False, repr=False)

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        return self.function(weight)


WEIGHT = WeightPart("W", lambda weight: weight)
POSITIVE = WeightPart("W+", lambda weight: weight.clamp_min(0))
NEGATIVE = WeightPart("W-", lambda weight: weight.clamp_max(0))
MINUS_POSITIVE = WeightPart("-W+", lambda weight: -weight.clamp_min(0))
MINUS_NEGATIVE = WeightPart("-W-", lambda weight: -weight.clamp_max(0))
SQUARE = WeightPart("W^2", lambda weight: weight.square())
ONES = WeightPart("1", lambda weight: torch.ones_like(weight))
NOTHING = WeightPart("0", lambda weight: torch.zeros_like(weight))


@dataclass(frozen=True)
class Part:
    """One fraction of a rule: its products of input parts and weight parts share one denominator.

    Parameters
    ----------
    products
        Pairs (part of the input, part of the weight).
    bias
        Part of the bias that joins the denominator.
    coefficient
        Share of the relevance that this part hands down; may be negative.
    epsilon, relative
        The stabiliser: ``epsilon``, or ``epsilon * rms(z)`` over the sentence's valid positions if relative.
    where
        Outputs the part acts on: all, those with ``z > 0``, or those with ``z < 0`` (z: the layer's output).
    """

    products: tuple[tuple[InputPart, WeightPart], ...]
    bias: WeightPart = NOTHING
    coefficient: float = 1.0
    epsilon: float = 0.0
    relative: bool = False
    where: Literal["all", "positive", "negative"] = "all"


@dataclass(frozen=True)
class Rule:
    """A rule of LRP; ``parts`` empty: relevance passes unchanged (``pass``)."""

    name: str
    parts: tuple[Part, ...]

    @property
    def takes_bounds(self) -> bool:
        return any(piece in {"low", "high"} for part in self.parts for piece, _ in part.products)


def epsilon(epsilon: float = 1e-6, relative: bool = False) -> Rule:
    """LRP-epsilon; ``epsilon=0`` is LRP-0."""
    name = "0" if epsilon == 0 else "epsilon-relative" if relative else "epsilon"
    return Rule(name, (Part((("input", WEIGHT),), WEIGHT, epsilon=epsilon, relative=relative),))


def alpha_beta(alpha: float = 2.0, beta: float = 1.0) -> Rule:
    """``alpha`` positive parts, ``-beta`` negative parts.

    Raises UsageError unless ``alpha - beta == 1`` and both are not negative.
    """
    if abs(alpha - beta - 1) > 1e-9 or beta < 0:
        raise UsageError(f"alpha - beta must be 1 and beta not negative, not alpha {alpha}, beta {beta}")
    parts = [Part((("positive", POSITIVE), ("negative", NEGATIVE)), POSITIVE, alpha)]
    if beta:
        parts.append(Part((("positive", NEGATIVE), ("negative", POSITIVE)), NEGATIVE, -beta))
    return Rule("z+" if beta == 0 else f"alpha{alpha:g}-beta{beta:g}", tuple(parts))


def gamma(gamma: float = 0.25) -> Rule:
    """LRP-gamma for inputs of either sign."""
    up = WeightPart(f"W+{gamma}W+", lambda weight: weight + gamma * weight.clamp_min(0))
    down = WeightPart(f"W+{gamma}W-", lambda weight: weight + gamma * weight.clamp_max(0))
    return Rule(
        "gamma",
        (
            Part((("positive", up), ("negative", down)), up, where="positive"),
            Part((("positive", down), ("negative", up)), down, where="negative"),
        ),
    )


ZERO = epsilon(0.0)
EPSILON = epsilon()
EPSILON_RELATIVE = epsilon(0.25, relative=True)
GAMMA = gamma()
ALPHA2_BETA1 = alpha_beta(2, 1)
Z_PLUS = alpha_beta(1, 0)
W_SQUARE = Rule("w^2", (Part((("ones", SQUARE),)),))
FLAT = Rule("flat", (Part((("ones", ONES),)),))
Z_BOX = Rule("z^B", (Part((("input", WEIGHT), ("low", MINUS_POSITIVE), ("high", MINUS_NEGATIVE))),))
NORM = Rule("norm", (Part((("input", WEIGHT),), WEIGHT, epsilon=1e-6),))
PASS = Rule("pass", ())

RULES = {
    "0": ZERO,
    "epsilon": EPSILON,
    "epsilon-relative": EPSILON_RELATIVE,
    "gamma": GAMMA,
    "alpha2-beta1": ALPHA2_BETA1,
    "alpha-beta": ALPHA2_BETA1,
    "alpha1-beta0": Z_PLUS,
    "z+": Z_PLUS,
    "w^2": W_SQUARE,
    "flat": FLAT,
    "z^B": Z_BOX,
    "norm": NORM,
    "pass": PASS,
}


def rule(named: Rule | str) -> Rule:
    """A rule by name, or a rule itself. Raises UsageError for an unknown name, saying the near ones."""
    if isinstance(named, Rule):
        return named
    if named not in RULES:
        raise unknown_name("rule", named, RULES)
    return RULES[named]


def stabilised_inverse(z: torch.Tensor, stabiliser: torch.Tensor | float) -> torch.Tensor:
    """``1 / (z + stabiliser * sign(z))`` with sign(0) = 1; 0 where the denominator vanishes."""
    denominator = torch.where(z < 0, z - stabiliser, z + stabiliser)
    vanishing = denominator.abs() < torch.finfo(z.dtype).tiny ** 0.5
    return torch.where(vanishing, 0.0, 1 / torch.where(vanishing, 1.0, denominator))
