#!/bin/bash
# A study as a Slurm array of shards, and one database of all in the end:
#   job=$(sbatch --parsable --array=1-8 scripts/cluster/array.sh study.toml)
#   sbatch --dependency=afterok:$job --wrap "${DANAUS:-danaus} explore merge study-shard-*.db -o study.db"
# Submit it again after a failure: every shard computes only what it lacks. Some shards alone need the number of all:
#   sbatch --array=3,5 scripts/cluster/array.sh study.toml 8
#SBATCH --job-name=danaus-shards
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --requeue
set -euo pipefail
if [ $# -lt 1 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  echo "usage: sbatch --array=1-SHARDS scripts/cluster/array.sh STUDY.toml [SHARDS]" >&2
  exit 2
fi
study=$1
shards=${2:-$SLURM_ARRAY_TASK_COUNT}
danaus=${DANAUS:-danaus}
name=$(basename "$study" .toml)
exec "$danaus" explore "$study" --shard "$SLURM_ARRAY_TASK_ID/$shards" \
  -o "$name-shard-$SLURM_ARRAY_TASK_ID.db" --resume --threads "${SLURM_CPUS_PER_TASK:-1}" --progress plain
