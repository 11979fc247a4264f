"""What beam search and a language model add: letter and word error of one recogniser, decoded three ways.

    python recipes/librispeech/decoders.py --corpus development.jsonl --language-model letters.arpa

``--weights`` and ``--bonuses`` try several on the same logits (choose on development, never on test); the
last line is the best of them. Differences are paired, with 95 % bootstrap intervals as ``evaluate`` draws
them. One forward pass serves all.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from asr_introspect import read_corpus
from asr_introspect.corpus.records import Skipped, Utterance
from asr_introspect.experiments.evaluate import UtteranceScore, rates, score
from asr_introspect.experiments.inputs import as_recogniser
from asr_introspect.recogniser.beam import BeamConfig, BeamDecoder, Decoder, choose_decoder
from asr_introspect.recogniser.decoding import text
from asr_introspect.recogniser.ngrams import read_model
from asr_introspect.recogniser.passes import forward_pass
from asr_introspect.recogniser.symbols import SymbolTable

Heard = list[tuple[Utterance, Tensor]]


def scored(heard: Heard, decode: Decoder, symbols: SymbolTable) -> list[UtteranceScore]:
    """Each utterance's edits with this decoder."""
    return [score(utterance, text(decode(logits), symbols)) for utterance, logits in heard]


def told(name: str, scores: list[UtteranceScore], against: list[UtteranceScore] | None = None) -> str:
    """Letter and word error in percent with intervals, or how much they differ from others'."""
    cells = [f"{name:44s}"]
    for rate in rates(scores, against):
        cells.append(f"{100 * rate.rate:6.2f} ({100 * rate.low:.2f} to {100 * rate.high:.2f})")
    return "  ".join(cells)


def main() -> None:
    """Prints a line for each decoder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--language-model", type=Path, required=True, help="an ARPA file")
    parser.add_argument("--checkpoint", type=Path, help="the bundled reference if not given")
    parser.add_argument("--weights", type=float, nargs="+", default=[BeamConfig().language_weight])
    parser.add_argument("--bonuses", type=float, nargs="+", default=[BeamConfig().symbol_bonus])
    parser.add_argument("--size", type=int, default=BeamConfig().size)
    parser.add_argument("--step-symbols", type=int, default=BeamConfig().step_symbols)
    parser.add_argument("--every", type=int, default=1, help="use only every so many-th utterance")
    given = parser.parse_args()
    recogniser = as_recogniser(given.checkpoint)
    utterances = read_corpus(given.corpus).utterances[:: given.every]
    skipped: list[Skipped] = []
    heard = [
        (utterance, logits.clone())
        for forward in forward_pass(recogniser, utterances, skipped=skipped)
        for utterance, logits in zip(forward.utterances, forward.valid_logits(), strict=True)
    ]
    symbols = recogniser.symbols
    beam = BeamConfig(size=given.size, step_symbols=given.step_symbols)
    print(f"{len(heard)} utterances, {len(skipped)} skipped; letter error %, word error %")
    greedy = scored(heard, choose_decoder(symbols), symbols)
    print(told("greedy", greedy))
    alone = scored(heard, BeamDecoder(symbols, None, beam), symbols)
    print(told("beam, no language model", alone))
    print(told("  minus greedy", alone, greedy), flush=True)
    spoken = [name for i, name in enumerate(symbols.symbols) if i != symbols.blank]
    model = read_model(given.language_model, spoken)
    found: dict[tuple[float, float], list[UtteranceScore]] = {}
    for weight, bonus in itertools.product(given.weights, given.bonuses):
        started = time.process_time()
        config = replace(beam, language_weight=weight, symbol_bonus=bonus)
        found[weight, bonus] = scored(heard, BeamDecoder(symbols, model, config), symbols)
        seconds = sum(utterance.duration for utterance, _ in heard) / (time.process_time() - started)
        print(
            told(f"beam, weight {weight:g}, bonus {bonus:g} ({seconds:.0f} s/s)", found[weight, bonus]),
            flush=True,
        )
    best = min(found, key=lambda pair: sum(each.letter_edits for each in found[pair]))
    print(told(f"  weight {best[0]:g}, bonus {best[1]:g} minus greedy", found[best], greedy))


if __name__ == "__main__":
    main()
