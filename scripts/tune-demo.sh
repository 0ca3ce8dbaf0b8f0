#!/usr/bin/env bash
# Four minutes of training: gathered blocks of a real sentence encoder, a quarter of its weights, before and after.
# usage: scripts/tune-demo.sh [MINUTES]         (make tune-demo builds and fetches what it needs)
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-4}
folder=build/tune-demo
model=models/all-MiniLM-L6-v2
mkdir -p "$folder"
[ -f "$folder/train.txt" ] || scripts/make-tuning-text "$folder" --only wordnet-base fortunes python3.11-doc
awk 'length($0) > 150 && ++count <= 200' "$folder/held-out.txt" > "$folder/check.txt"

blocks=(--structure gather --group 8 --compression 4)
awk 'NR % 100 == 0' "$folder/train.txt" > "$folder/calibration.txt"
build/danaus project "$model" "${blocks[@]}" --calibrate "$folder/calibration.txt" -o "$folder/projected.safetensors" -q \
  > "$folder/project.txt"
build/danaus tune "$model" --text "$folder/train.txt" --factors "$folder/projected.safetensors" --minutes "$minutes" \
  -o "$folder/tuned.safetensors"
echo
echo 'What is left of the embeddings of 200 lines that were not trained on:'
python3 bench/tuning_quality.py build/danaus "$model" "$folder/check.txt" "$folder"/{projected,tuned}.safetensors
