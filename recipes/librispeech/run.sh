#!/usr/bin/env bash
# From LibriSpeech to a report: prepare, train, evaluate, introspect. Stopped anywhere, the same call goes on.
#
#   recipes/librispeech/run.sh TRAINING DEVELOPMENT TEST [RUN] [CONFIGURATION]
#
# TRAINING, DEVELOPMENT and TEST are folders in LibriSpeech's layout (say train-clean-100, dev-clean, test-clean), tables or
# manifests; no speaker may be in two of them. RUN is runs/librispeech, CONFIGURATION recipes/librispeech/conf/small.yaml
# if not given. Needs the package with the extra phones: pip install '.[phones]'. In the environment:
#
#   DOWNLOAD=FOLDER   the three are names of subsets, fetched into FOLDER; several are separated by commas:
#                     DOWNLOAD=speech recipes/librispeech/run.sh train-clean-100,train-clean-360,train-other-500 \
#                       dev-clean test-clean runs/full960 recipes/librispeech/conf/full960-small.yaml
#   BEAM=1            also measure what a letter language model of the training transcripts adds (extra beam)
#   LAUNCH=...        how to start training; several GPUs: "torchrun --nproc-per-node=4 -m asr_introspect"
set -euo pipefail
(( $# >= 3 && $# <= 5 )) || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
training=$1 development=$2 test=$3 run=${4:-runs/librispeech}
recipe=$(dirname "$0")
configuration=${5:-$recipe/conf/small.yaml}
launch=${LAUNCH:-asr-introspect}
mkdir -p "$run"

once() { # what is there is not made again; what is half made does not get the name
  local out=$1
  shift
  [[ -e $out ]] || { "$@" > "$out.partial" && mv "$out.partial" "$out"; }
}
manifest() {
  [[ -e $2 ]] && return
  if [[ -n ${DOWNLOAD:-} ]]; then
    local subsets
    IFS=, read -ra subsets <<< "$1"
    asr-introspect prepare --download "${subsets[@]}" --download-to "$DOWNLOAD" --out "$2"
  else
    asr-introspect prepare "$1" --out "$2"
  fi
}
manifest "$training" "$run/training.jsonl"
manifest "$development" "$run/development.jsonl"
manifest "$test" "$run/test.jsonl"

# Words and phones in time: for the framewise start of training, and for the profiles of phonemes.
[[ -e $run/times.jsonl ]] || asr-introspect align --phones --corpus "$run/training.jsonl" --out "$run/times.jsonl"
[[ -e $run/phones.jsonl ]] ||
  asr-introspect align --phones --corpus "$run/development.jsonl" --out "$run/phones.jsonl" --textgrids "$run/alignments"

$launch train --config "$configuration" --corpus "$run/training.jsonl" --development "$run/development.jsonl" \
  --times "$run/times.jsonl" --out "$run/training"
checkpoint=$run/training/best.safetensors
for part in development test; do
  once "$run/$part.txt" asr-introspect evaluate --checkpoint "$checkpoint" --corpus "$run/$part.jsonl"
  cat "$run/$part.txt"
done
if [[ -n ${BEAM:-} ]]; then
  [[ -e $run/letters.arpa ]] ||
    python "$recipe/language_model.py" --corpus "$run/training.jsonl" --held-out "$run/development.jsonl" --out "$run/letters.arpa"
  once "$run/decoders.txt" python "$recipe/decoders.py" --checkpoint "$checkpoint" --corpus "$run/development.jsonl" \
    --language-model "$run/letters.arpa"
  cat "$run/decoders.txt"
fi
asr-introspect introspect --checkpoint "$checkpoint" --corpus "$run/development.jsonl" --alignments "$run/alignments" --out "$run/introspect"
