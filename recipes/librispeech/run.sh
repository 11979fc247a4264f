#!/usr/bin/env bash
# From LibriSpeech to a report: prepare, train, evaluate, introspect. Stopped anywhere, the same call goes on.
#
#   recipes/librispeech/run.sh TRAINING DEVELOPMENT TEST [RUN] [CONFIGURATION]
#
# TRAINING, DEVELOPMENT and TEST are folders in LibriSpeech's layout (say train-clean-100, dev-clean, test-clean), tables or
# manifests. RUN is runs/librispeech, CONFIGURATION recipes/librispeech/conf/small.yaml if not given.
# Needs the package with the extra phones: pip install '.[phones]'. Several GPUs: LAUNCH="torchrun --nproc-per-node=4 -m asr_introspect".
set -euo pipefail
(( $# >= 3 )) || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
training=$1 development=$2 test=$3 run=${4:-runs/librispeech}
configuration=${5:-$(dirname "$0")/conf/small.yaml}
launch=${LAUNCH:-asr-introspect}
mkdir -p "$run"

manifest() { # what is prepared once is not prepared again
  [[ -e $run/$2.jsonl ]] || asr-introspect prepare "$1" --out "$run/$2.jsonl"
}
manifest "$training" training
manifest "$development" development
manifest "$test" test

# Words and phones in time: for the framewise start of training, and for the profiles of phonemes.
[[ -e $run/times.jsonl ]] || asr-introspect align --phones --corpus "$run/training.jsonl" --out "$run/times.jsonl"
[[ -e $run/phones.jsonl ]] ||
  asr-introspect align --phones --corpus "$run/development.jsonl" --out "$run/phones.jsonl" --textgrids "$run/alignments"

$launch train --config "$configuration" --corpus "$run/training.jsonl" --development "$run/development.jsonl" \
  --times "$run/times.jsonl" --out "$run/training"
checkpoint=$run/training/best.safetensors
asr-introspect evaluate --checkpoint "$checkpoint" --corpus "$run/development.jsonl" | tee "$run/development.txt"
asr-introspect evaluate --checkpoint "$checkpoint" --corpus "$run/test.jsonl" | tee "$run/test.txt"
asr-introspect introspect --checkpoint "$checkpoint" --corpus "$run/development.jsonl" --alignments "$run/alignments" --out "$run/introspect"
