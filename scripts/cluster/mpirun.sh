#!/bin/bash
# A study over MPI ranks on one machine, or on those of a host file: scripts/cluster/mpirun.sh study.toml RANKS [HOSTFILE]
# Under a batch system that mpirun knows, its allocation is the host file: sbatch --ntasks=64 scripts/cluster/mpirun.sh study.toml 64
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: scripts/cluster/mpirun.sh STUDY.toml RANKS [HOSTFILE]" >&2
  exit 2
fi
study=$1
ranks=$2
danaus=${DANAUS:-danaus}
name=$(basename "$study" .toml)
exec mpirun -n "$ranks" ${3:+--hostfile "$3"} "$danaus" explore "$study" -o "$name.db" --resume --progress plain
