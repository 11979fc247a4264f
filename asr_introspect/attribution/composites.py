"""Which rule each layer gets: named composites and mappings of the user's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from asr_introspect.attribution import rules
from asr_introspect.attribution.canonical import Program
from asr_introspect.attribution.graph import Node
from asr_introspect.attribution.operations import (
    Affine,
    Convolution,
    Dense,
    Elementwise,
    Identity,
    Mixing,
    Operation,
    Sum,
    TransposedConvolution,
)
from asr_introspect.attribution.rules import Rule
from asr_introspect.errors import UsageError, unknown_name

Mapped = Mapping[str | type[nn.Module], Rule | str]

_MIDDLE = {"plus": rules.Z_PLUS, "alpha2-beta1": rules.ALPHA2_BETA1, "gamma": rules.GAMMA}
_FIRST = {"": None, "-flat": rules.FLAT, "-box": rules.Z_BOX}

COMPOSITES: dict[str, tuple[Rule, Rule, Rule]] = {
    "epsilon": (rules.EPSILON,) * 3,
    "epsilon-relative": (rules.EPSILON_RELATIVE,) * 3,
    **{
        f"epsilon-{name}{suffix}": (rules.EPSILON_RELATIVE, middle, first or middle)
        for name, middle in _MIDDLE.items()
        for suffix, first in _FIRST.items()
    },
    **{name: (rules.RULES[name],) * 3 for name in ("0", "z+", "alpha2-beta1", "gamma", "w^2", "flat")},
}
"""By name: the rules of the top, the middle and the first layers.

*Top*: the last linear layer and every convolution of one tap right below it. *First*: what reads the input.
*Middle*: the rest. The last line's composites put one rule everywhere.
"""

EXACT_NORM = Rule("norm", rules.ZERO.parts)
"""Norm without a stabiliser, beside LRP-0: the whole walk is then gradient x input."""

_DEFAULTS = {
    "linear": "norm",
    "selection": "winner",
    "product": "uniform",
    "softmax": "taylor",
    "layer-norm": "detached deviation",
}


def is_linear(operation: Operation) -> bool:
    """Whether an operation takes a rule of the table: a convolution, its transpose, or a matrix."""
    match operation:
        case Convolution(pooling=pooling):
            return not pooling
        case TransposedConvolution() | Dense():
            return True
        case _:
            return False


def assign(program: Program, composite: str | Mapped | Rule) -> dict[Node, Rule]:
    """The rule of every operation that takes one, by the node it makes.

    ``composite``: a name of :data:`COMPOSITES`, one rule for every linear layer, or a mapping of layers
    (module names; a block's name stands for all layers inside) or layer types to rules; names go before
    types, longer names before shorter. Non-linearities and dropout that are not named pass relevance on;
    averages, sums and batch norm that could not be folded take ``norm``.

    Raises UsageError for unknown names, for linear layers that a mapping forgets, and, naming the layer, for
    functions that have no rule.
    """
    named = _by_name(program, composite)
    norm = EXACT_NORM if composite == "0" or composite is rules.ZERO else rules.NORM
    chosen: dict[Node, Rule] = {}
    for node, operation in program.operations.items():
        match operation:
            case Identity():
                continue
            case Elementwise(activation=activation):
                given = named(operation)
                if not activation and given is None:
                    raise _refusal(operation)
                if given is not None and given.parts:
                    raise UsageError(f"{operation.layer}: a non-linearity can only take the rule 'pass'")
                continue
            case Mixing(kind=kind):
                if kind not in _DEFAULTS:
                    raise _refusal(operation)
                chosen[node] = Rule(_DEFAULTS[kind], norm.parts)
            case Affine() | Sum() | Convolution(pooling=True):
                given = named(operation)
                chosen[node] = given if given is not None and given.parts else norm
            case _ if is_linear(operation):
                given = named(operation)
                if given is None:
                    kind = operation.node.module_type.__name__ if operation.node.module_type else node.name
                    raise UsageError(f"no rule for layer {operation.layer!r} ({kind}); name it or its type")
                if not given.parts:
                    raise UsageError(f"{operation.layer}: a linear layer cannot take the rule 'pass'")
                chosen[node] = given
    return chosen


def _refusal(operation: Operation) -> UsageError:
    where = operation.layer if operation.node.module else "the network"
    return UsageError(
        f"LRP has no rule for {operation.node.name!r} in {where}; "
        "explain it by a gradient method, or rewrite it with supported layers"
    )


def _by_name(program: Program, composite: str | Mapped | Rule):  # type: ignore[no-untyped-def]
    if isinstance(composite, Rule):
        return lambda operation: composite if is_linear(operation) else None
    if isinstance(composite, str):
        if composite == "speech":
            raise UsageError(
                "the composite 'speech' is what the audit chooses; it has not chosen yet, name another one"
            )
        if composite not in COMPOSITES:
            raise unknown_name("composite", composite, [*COMPOSITES, "speech"])
        chosen, where = COMPOSITES[composite], places(program)
        return lambda operation: chosen[where[operation.node]] if is_linear(operation) else None
    names = {name: rules.rule(given) for name, given in composite.items() if isinstance(name, str)}
    types = {kind: rules.rule(given) for kind, given in composite.items() if not isinstance(kind, str)}
    for name in names:
        modules = [module for module, _ in program.graph.used]
        if name not in modules:
            raise unknown_name("layer", name, modules)

    def lookup(operation: Operation) -> Rule | None:
        module, kind = operation.node.module, operation.node.module_type
        while module:
            if module in names:
                return names[module]
            module = module.rpartition(".")[0]
        for each, given in types.items():
            if kind is not None and issubclass(kind, each):
                return given
        return None

    return lookup


def places(program: Program) -> dict[Node, int]:
    """0 (top), 1 (middle) or 2 (first) for every linear layer."""
    linear = [operation for operation in program.operations.values() if is_linear(operation)]
    found = {operation.node: 1 for operation in linear}
    over_input = {program.graph.input}
    for node, operation in program.operations.items():
        if any(source in over_input for source in operation.sources):
            if is_linear(operation):
                found[node] = 2
            else:
                over_input.add(node)
    for position, operation in enumerate(reversed(linear)):
        one_tap = isinstance(operation, Convolution) and all(size == 1 for size in operation.weight.shape[2:])
        if position and not one_tap:
            break
        found[operation.node] = 0
    return found
