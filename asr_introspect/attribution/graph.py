"""What a network did, call by call: the graph of one run, recorded with its values.

Symbolic tracing (``torch.fx``) breaks on ordinary code such as ``torch.arange(x.shape[-1]) < lengths[:,
None]``, which is how masks of padded batches are made. So the graph is *recorded*: the network runs once on
the real inputs, every torch function that it calls becomes a :class:`Node` that keeps its value, and every
node knows the module that called it (choice). Control flow that depends on shapes or lengths is recorded as
it happened, and a module that is called twice simply gives two nodes. The network itself is never edited.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from asr_introspect.attribution.attention import multi_head_attention, scaled_dot_product_attention
from asr_introspect.convolution import Convolution1d, Padding1d
from asr_introspect.errors import IntrospectError, UsageError, unknown_name


@dataclass(eq=False)
class Node:
    """One torch call: ``value = function(*args, **kwargs)``, tracked tensors among them replaced by nodes."""

    index: int
    function: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: Any
    module: str = ""
    module_type: type[nn.Module] | None = None
    depends: bool = False  # on the network's input; masks and weights do not
    version: int = 0

    @property
    def name(self) -> str:
        """The function's bare name: ``conv1d``, ``relu``, ``add`` (for ``+`` and ``add_`` too)."""
        if self.function is None:
            return "input"
        bare = getattr(self.function, "__name__", str(self.function)).strip("_")
        return {"radd": "add", "iadd": "add", "rmul": "mul", "imul": "mul", "isub": "sub"}.get(bare, bare)

    @property
    def tensor(self) -> torch.Tensor:
        assert isinstance(self.value, torch.Tensor)
        return self.value

    def sources(self) -> list[Node]:
        """The nodes among the arguments that depend on the input, in order, without repetition."""
        found: list[Node] = []
        for leaf in _leaves((self.args, self.kwargs)):
            if isinstance(leaf, Node) and leaf.depends and leaf not in found:
                found.append(leaf)
        return found

    def __repr__(self) -> str:
        shape = tuple(self.value.shape) if isinstance(self.value, torch.Tensor) else type(self.value).__name__
        return f"Node({self.index}, {self.name}, {self.module or '-'}, {shape})"


@dataclass(frozen=True)
class Graph:
    """The nodes of one run in the order of their calls, from ``input`` to ``output``."""

    nodes: list[Node]
    input: Node
    output: Node
    modules: dict[str, list[Node]] = field(repr=False)  # the value each module returned, one per call
    used: list[tuple[str, type[nn.Module]]] = field(repr=False)  # modules that were called

    def layer(self, name: str) -> Node:
        """The node whose value is the output of a module (``"input"``: the input).

        A module that was called more than once is several layers: ``"block:1"``, ``"block:2"``.

        Raises UsageError for a name that is not there, that is ambiguous, or whose value is not a tensor.
        """
        if name == "input":
            return self.input
        bare, _, call = name.rpartition(":")
        if bare in self.modules and call.isdigit() and 1 <= int(call) <= len(self.modules[bare]):
            return self.modules[bare][int(call) - 1]
        if name not in self.modules:
            raise unknown_name("layer", name, ["input", *filter(None, self.modules)])
        calls = self.modules[name]
        if len(calls) > 1:
            names = ", ".join(f"{name}:{call + 1}" for call in range(len(calls)))
            raise UsageError(f"layer {name!r} is used {len(calls)} times, name one of its calls: {names}")
        return calls[0]


def _leaves(structure: Any) -> Iterator[Any]:
    if isinstance(structure, (tuple, list)):
        for part in structure:
            yield from _leaves(part)
    elif isinstance(structure, dict):
        for part in structure.values():
            yield from _leaves(part)
    else:
        yield structure


def substitute(structure: Any, change: Callable[[Any], Any]) -> Any:
    """A nested structure of tuples, lists and dictionaries with every leaf changed."""
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(substitute(part, change) for part in structure))
    if isinstance(structure, (tuple, list)):
        return type(structure)(substitute(part, change) for part in structure)
    if isinstance(structure, dict):
        return {key: substitute(part, change) for key, part in structure.items()}
    return change(structure)


def _convolution(module: nn.Conv1d, inputs: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    given = (module.stride, module.padding, module.dilation, module.groups)
    return F.conv1d, (inputs, module.weight, module.bias, *given)


def _padding(module: nn.ConstantPad1d, inputs: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return F.pad, (inputs, module.padding, "constant", module.value)


# Modules of this project that compute a torch function by a faster form: recorded as that function.
_FAST_FORMS: dict[type[nn.Module], Callable[[Any, Any], tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    Convolution1d: _convolution,
    Padding1d: _padding,
}


_SHAPE_ONLY = {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"}
_LIKE_SECOND = {"to", "type_as", "expand_as", "view_as", "reshape_as"}


class _Recorder(TorchFunctionMode):
    """Writes every torch function call on tensors into nodes while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.by_id: dict[int, Node] = {}
        self.stack: list[tuple[str, type[nn.Module]]] = []
        self.modules: dict[str, list[Node]] = {}
        self.used: list[tuple[str, type[nn.Module]]] = []
        self.kept_alive: list[Any] = []  # ids stay unique as long as the objects live
        self.unseen = 0
        self.fast: set[int] = set()

    def start(self, inputs: torch.Tensor) -> Node:
        node = self._append(None, (), {}, inputs, depends=True)
        self.by_id[id(inputs)] = node
        return node

    def _append(
        self, function: Callable[..., Any] | None, args: Any, kwargs: Any, value: Any, depends: bool
    ) -> Node:
        module, module_type = self.stack[-1] if self.stack else ("", None)
        node = Node(len(self.nodes), function, args, kwargs, value, module, module_type, depends)
        node.version = value._version if isinstance(value, torch.Tensor) else 0
        self.nodes.append(node)
        return node

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.unseen:
            return func(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            with self:
                return scaled_dot_product_attention(*args, **kwargs)
        known = [self.by_id[id(leaf)] for leaf in _leaves((args, kwargs)) if id(leaf) in self.by_id]
        self._check_tracked(name, args, kwargs)
        in_place = bool(args) and isinstance(args[0], torch.Tensor) and _changes_first(name, args, kwargs)
        tracked = self.by_id.get(id(args[0])) if in_place else None
        if tracked is not None:  # the node keeps the value from before the change
            tracked.value = tracked.tensor.clone()
            tracked.version = 0
        named_args, named_kwargs = substitute((args, kwargs), lambda leaf: self.by_id.get(id(leaf), leaf))
        result = func(*args, **kwargs)
        if in_place and result is None:  # x[...] = y
            result_value: Any = args[0]
        else:
            result_value = result
        if not any(isinstance(leaf, torch.Tensor) for leaf in _leaves(result_value)):
            return result
        depends = self._depends(name, args, known)
        node = self._append(func, named_args, named_kwargs, result_value, depends)
        self.kept_alive.append((args, kwargs, result))
        if isinstance(result_value, torch.Tensor):
            self.by_id[id(result_value)] = node
        else:
            for position, part in enumerate(result_value):
                if isinstance(part, torch.Tensor):
                    self.by_id[id(part)] = self._append(operator.getitem, (node, position), {}, part, depends)
        return result

    def _depends(self, name: str, args: tuple[Any, ...], known: list[Node]) -> bool:
        """Whether a call's result depends on the input; of some arguments only shape or type are read."""
        if name in _SHAPE_ONLY or name.startswith("new_"):
            return False
        if name in _LIKE_SECOND:
            first = self.by_id.get(id(args[0]))
            return first is not None and first.depends
        return any(node.depends for node in known)

    def _check_tracked(self, name: str, args: Any, kwargs: Any) -> None:
        """A tensor with a gradient history that no recorded call made came past the recorder."""
        for leaf in _leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor) and self._is_hidden(leaf):
                where = self.stack[-1][0] if self.stack else "the network"
                raise UnrecordedError(
                    f"{where}: {name} reads a tensor made by code that cannot be followed "
                    f"({leaf.grad_fn.name() if leaf.grad_fn else '?'}); write it with torch functions"
                )

    def _is_hidden(self, tensor: torch.Tensor) -> bool:
        """Made past the recorder, or by an ``autograd.Function`` with a derivative of its own."""
        history = tensor.grad_fn
        unseen = history is not None and id(tensor) not in self.by_id
        own = isinstance(history, torch.autograd.function.BackwardCFunction)
        return unseen or (own and id(tensor) not in self.fast)

    def enter(self, name: str, module: nn.Module) -> None:
        self.stack.append((name, type(module)))
        if name:
            self.used.append((name, type(module)))
        self.unseen += self._is_replaced(module)

    @staticmethod
    def _is_replaced(module: nn.Module) -> bool:
        return type(module) in _FAST_FORMS or isinstance(module, nn.MultiheadAttention)

    def leave(
        self, name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        if type(module) in _FAST_FORMS:
            given = inputs[0] if inputs else named["input"]
            source = self.by_id.get(id(given))
            function, args = _FAST_FORMS[type(module)](module, source or given)
            depends = source is not None and source.depends
            self.by_id[id(output)] = self._append(function, args, {}, output, depends)
            self.fast.add(id(output))
            self.kept_alive.append(output)
            self.unseen -= 1
        elif isinstance(module, nn.MultiheadAttention):
            self.unseen -= 1
            if not self.unseen:
                again = multi_head_attention(module, *inputs, **named)
                self.by_id[id(output[0])] = self.by_id[id(again)]
                self.kept_alive.append((again, output))
        self.stack.pop()
        for leaf in _leaves(output):
            if isinstance(leaf, torch.Tensor):
                node = self.by_id.get(id(leaf))
                if node is not None:
                    self.modules.setdefault(name, []).append(node)
                return


class UnrecordedError(IntrospectError):
    """Part of the network's computation is hidden from torch's function protocol."""


def _changes_first(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a torch function call overwrites its first argument."""
    if name == "__setitem__" or (name.endswith("_") and not name.endswith("__")):
        return True
    if name in {"__iadd__", "__imul__", "__isub__", "__itruediv__"}:
        return True
    if kwargs.get("inplace"):
        return True
    inplace_at = {"relu": 1, "hardtanh": 3, "elu": 2, "leaky_relu": 2, "dropout": 3, "silu": 1, "relu6": 1}
    at = inplace_at.get(name)
    return at is not None and len(args) > at and args[at] is True


def takes_lengths(network: nn.Module) -> bool:
    """Whether ``network.forward`` has an argument ``lengths``."""
    return "lengths" in inspect.signature(network.forward).parameters


def record(
    network: nn.Module, inputs: torch.Tensor, lengths: torch.Tensor | None = None, live: bool = False
) -> Graph:
    """Runs the network once on ``inputs`` and returns its graph with all values.

    ``lengths`` is handed on if the network has such an argument. ``live``: the values keep autograd's
    history. Hooks that the recording needs are removed again whatever happens; parameters, buffers and modes
    are not touched.

    Raises UsageError for a network in training mode, :class:`UnrecordedError` where code hides from the
    recorder, IntrospectError where a value was overwritten through a view.
    """
    training = [name or "the network" for name, module in network.named_modules() if module.training]
    if training:
        raise UsageError(
            f"attribution needs a network in evaluation mode: call .eval() first ({training[0]})"
        )
    recorder = _Recorder()
    handles: list[RemovableHandle] = []
    extra = {"lengths": lengths} if lengths is not None and takes_lengths(network) else {}
    try:
        for name, module in network.named_modules():

            def before(hooked: nn.Module, _: Any, name: str = name) -> None:
                recorder.enter(name, hooked)

            def after(hooked: nn.Module, given: Any, named: Any, output: Any, name: str = name) -> None:
                recorder.leave(name, hooked, given, named, output)

            handles.append(module.register_forward_pre_hook(before))
            handles.append(module.register_forward_hook(after, with_kwargs=True))
        with torch.enable_grad():
            leaf = inputs.detach().clone().requires_grad_()
            visible = leaf.view_as(leaf)  # not a leaf of autograd, so that a network may change it in place
            first = recorder.start(visible)
            with recorder:
                output = network(visible, **extra)
    finally:
        for handle in handles:
            handle.remove()
    return _finish(recorder, first, output, live)


def _finish(recorder: _Recorder, first: Node, output: Any, live: bool) -> Graph:
    if not isinstance(output, torch.Tensor):
        raise UsageError(f"the network must return one tensor, not {type(output).__name__}")
    last = recorder.by_id.get(id(output))
    if recorder._is_hidden(output):
        raise UnrecordedError("the network's output was made by code that cannot be followed")
    if last is None or not last.depends:
        raise UsageError("the network's output does not depend on its input")
    for node in recorder.nodes:
        for value in _leaves(node.value):
            if isinstance(value, torch.Tensor) and value is node.value and value._version != node.version:
                raise IntrospectError(f"{node.module or node.name}: a value was overwritten through a view")
        if not live:
            node.value = substitute(node.value, _detached)
    return Graph(recorder.nodes, first, last, recorder.modules, recorder.used)


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, torch.Tensor) else leaf
