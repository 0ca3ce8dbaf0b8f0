#!/usr/bin/env bash
# Installs what danaus needs from Debian packages. Idempotent: installs nothing when all is there.
# usage: scripts/install-dependencies.sh [build|test|tune|develop]...      (default: build)
#   build    compiler, build tools and libraries: enough for `make demo`
#   test     what `make test` adds: test frameworks, Python with numpy as an oracle, gnuplot for figures
#   tune     what `danaus tune` adds: LibTorch
#   develop  what sanitizers, fuzzers, formatters and benchmarks add
set -euo pipefail

build=(g++ cmake ninja-build make pkg-config python3 python3-pip
  libexpected-dev libfmt-dev libtomlplusplus-dev nlohmann-json3-dev libcli11-dev
  libtbb-dev libhwy-dev librandom123-dev libxxhash-dev libprotozero-dev libeigen3-dev
  libicu-dev libopenblas-dev libsqlite3-dev)
test=(doctest-dev librapidcheck-dev python3-numpy python3-pytest gnuplot-nox openmpi-bin)
tune=(libtorch-dev)
develop=(clang-16 clang-tidy-16 clang-format-16 libclang-rt-16-dev libbenchmark-dev ccache)

[ $# -gt 0 ] || set -- build
wanted=()
for set_name in "$@"; do
  case "$set_name" in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    tune) wanted+=("${tune[@]}") ;;
    develop) wanted+=("${develop[@]}") ;;
    *) echo "install-dependencies: unknown set '$set_name' (build, test, tune or develop)" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "install-dependencies: these packages are missing: ${missing[*]}" >&2
    echo "  hint: run it as root, install sudo, or install them yourself" >&2
    exit 1
  }
  as_root=(sudo)
fi
echo "installing: ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
