"""Largest deviations of the attribution engine from its second opinions: one row a method.

``python tests/benchmarks/attribution_agreement.py [METHOD ...]`` prints, per method, the largest over targets
of ``max |a - b| / max |b|``:

- *dense*: every linear layer of ``tests/attribution/test_rules.py`` against the explicit Jacobian (float64);
- *zennit*, *captum*: the chains and image nets of ``tests/attribution/test_peers.py`` (float64);
- *whole*: cones against whole maps on random networks of all kinds, 1-D and 2-D (float64);
- *float32*: cones against whole maps on a recogniser, both in float32; beside it *noise*: float32 against
  float64 on whole maps.

A dash: not comparable (the peer lacks the layer or is known to be wrong there).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "attribution"))

import test_peers as peers
import test_rules as dense_form
from attribution_nets import deviation, gradients, noise, randomised
from random_nets import KINDS, every_target, random_net, size_that_fits

from asr_introspect.attribution import attribute, rules
from asr_introspect.attribution.composites import assign
from asr_introspect.attribution.session import Session, prepare
from asr_introspect.attribution.sweep import Sweep
from asr_introspect.recogniser.network import NetworkConfig, Wav2Letter

NETS = 10
RULES = ("0", "epsilon", "epsilon-relative", "gamma", "alpha2-beta1", "z+", "w^2", "flat", "z^B")
WALKS = ("gradient", "guided-backprop", "deconvnet")


def against_dense(name: str) -> float:
    worst = 0.0
    for seed, (_, layer, shape) in enumerate(dense_form.LAYERS):
        network, inputs = randomised(layer, seed), noise(1, *shape, seed=seed)
        outputs = network(inputs)
        weight = torch.autograd.functional.jacobian(network, inputs).reshape(outputs.numel(), inputs.numel())
        bias = network(torch.zeros_like(inputs)).flatten().detach()
        relevance = noise(*outputs.shape, seed=seed + 1)
        found, _ = dense_form.walked(network, inputs, relevance, rules.RULES[name])
        expected, _ = dense_form.dense(name, inputs.flatten(), weight, bias, relevance.flatten())
        worst = max(worst, deviation(found.reshape(1, -1), expected[None]) if expected.any() else 0.0)
    return worst


def against_autograd() -> float:
    worst = 0.0
    for kind in (*KINDS, "mixed"):
        for seed in range(NETS):
            network = random_net(kind, 1 + seed % 2, seed)
            inputs, outputs = size_that_fits(network, 1 + seed % 2, seed)
            targets = every_target(outputs, seed, most=8)
            found = attribute(network, inputs, targets, method="gradient")
            worst = max(worst, deviation(found.dense(), gradients(network, inputs, targets)))
    return worst


def against_zennit(name: str) -> float:
    theirs, chosen = peers.zennit_rules()[name], rules.RULES[name]
    if name in {"w^2", "flat", "z^B"}:
        network = randomised(nn.Sequential(nn.Conv1d(4, 3, 5)), 1)
        inputs = noise(2, 4, 14, seed=2).clamp(peers.LOW, peers.HIGH)
        options = {"bounds": (peers.LOW, peers.HIGH)} if name == "z^B" else {}
        found = attribute(network, inputs, peers.TARGETS, composite=chosen, **options)
        return deviation(found.dense(), peers.by_zennit(network, inputs, peers.TARGETS, theirs))
    network, inputs = peers.chain(1), noise(2, 4, 20, seed=2)
    found = attribute(network, inputs, peers.TARGETS, composite=chosen)
    chain = deviation(found.dense(), peers.by_zennit(network, inputs, peers.TARGETS, theirs))
    network, inputs = peers.image_net(3), noise(2, 3, 8, 12, seed=2)
    composite = {nn.Conv2d: chosen, nn.Linear: chosen, nn.AvgPool2d: rules.ZERO}
    found = attribute(network, inputs, peers.IMAGES, composite=composite)
    return max(chain, deviation(found.dense(), peers.by_zennit(network, inputs, peers.IMAGES, theirs)))


def captum_walk(name: str) -> float:
    import captum.attr as captum

    network, inputs = peers.image_net(3), noise(2, 3, 8, 12, seed=2)
    theirs: dict[str, Callable[[], object]] = {
        "gradient": lambda: captum.Saliency(network),
        "guided-backprop": lambda: captum.GuidedBackprop(network),
        "deconvnet": lambda: captum.Deconvolution(network),
    }
    found = attribute(network, inputs, peers.IMAGES, method=name)
    worst = 0.0
    for row, (item, label) in enumerate(peers.IMAGES.tolist()):
        options = {"abs": False} if name == "gradient" else {}
        given = inputs[item : item + 1].clone().requires_grad_()
        expected = theirs[name]().attribute(given, label, **options)  # type: ignore[attr-defined]
        worst = max(worst, deviation(found.windows[row : row + 1], expected.detach()))
    return worst


def captum_epsilon() -> float:
    import captum.attr as captum
    from captum.attr._utils.lrp_rules import EpsilonRule

    network, inputs = peers.chain(1), noise(2, 4, 20, seed=2)
    folded = peers.folded_by_hand(network)
    found = attribute(network, inputs, peers.TARGETS, composite="epsilon")
    worst = 0.0
    for row, (item, step, label) in enumerate(peers.TARGETS.tolist()):
        for layer in folded:
            if isinstance(layer, (nn.Conv1d, nn.ConstantPad1d)):
                layer.rule = EpsilonRule(1e-6)
        expected = captum.LRP(folded).attribute(inputs[item : item + 1].clone(), target=(label, step))
        worst = max(worst, deviation(found.dense()[row : row + 1], expected.detach()))
    return worst


def sweep_of(session: Session, name: str, inputs: torch.Tensor) -> Sweep:
    if name in WALKS:
        return session.sweep(backward=name)  # type: ignore[arg-type]
    return session.sweep(assign(session.program, rules.RULES[name]), bounds=(inputs.amin(), inputs.amax()))


def maps(session: Session, name: str, inputs: torch.Tensor, whole: bool) -> torch.Tensor:
    ((_, found),) = session.explain(sweep_of(session, name, inputs), 1000, whole=whole)
    return found["input"].dense()


def against_whole(name: str) -> float:
    worst = 0.0
    for kind in (*KINDS, "mixed"):
        for seed in range(NETS):
            network = random_net(kind, 1 + seed % 2, seed)
            inputs, outputs = size_that_fits(network, 1 + seed % 2, seed)
            session = prepare(network, inputs, every_target(outputs, seed), against="mean")
            found, expected = (maps(session, name, inputs, whole) for whole in (False, True))
            worst = max(worst, deviation(found, expected))
    return worst


def single_precision(name: str) -> tuple[float, float]:
    """Cones against whole maps, and whole maps against float64."""
    network = randomised(Wav2Letter(NetworkConfig(mels=32, narrow=24, wide=40), 8), 2)
    inputs, lengths = noise(2, 32, 300, seed=1), torch.tensor([300, 170])
    targets = torch.tensor([[b, s, s % 8] for b, last in ((0, 149), (1, 84)) for s in (0, 1, 30, 60, last)])
    found = {}
    for dtype in (torch.float64, torch.float32):
        session = prepare(network.to(dtype), inputs.to(dtype), targets, lengths=lengths, against="mean")
        for whole in (False, True):
            found[dtype, whole] = maps(session, name, inputs.to(dtype), whole).double()
    cones = deviation(found[torch.float32, False], found[torch.float32, True])
    return cones, deviation(found[torch.float32, True], found[torch.float64, True])


def main() -> None:
    torch.set_num_threads(1)
    library = torch.library.Library("torchvision", "DEF")  # what a CPU build of torchvision lacks
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    print(f"{'method':18} {'dense':>9} {'zennit':>9} {'captum':>9} {'whole':>9} {'float32':>9} {'noise':>9}")
    for name in sys.argv[1:] or (*WALKS, *RULES):
        dense = against_dense(name) if name in RULES else against_autograd() if name == "gradient" else None
        zennit = against_zennit(name) if name in peers.zennit_rules() else None
        captum = captum_walk(name) if name in WALKS else captum_epsilon() if name == "epsilon" else None
        columns = (dense, zennit, captum, against_whole(name), *single_precision(name))
        print(
            f"{name:18} " + " ".join(f"{'-' if c is None else format(c, '.1e'):>9}" for c in columns),
            flush=True,
        )


if __name__ == "__main__":
    main()
