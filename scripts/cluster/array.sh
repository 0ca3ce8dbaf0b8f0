#!/bin/bash
# A study as a Slurm array of shards: sbatch --array=1-8 scripts/cluster/array.sh study.toml
# Run it again after a failure: every shard computes only what it lacks. When all are done:
#   danaus explore merge study-shard-*.db -o study.db
#SBATCH --job-name=danaus-shards
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --requeue
set -euo pipefail
study=$1
danaus=${DANAUS:-danaus}
name=$(basename "$study" .toml)
exec "$danaus" explore "$study" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
  -o "$name-shard-$SLURM_ARRAY_TASK_ID.db" --resume --threads "${SLURM_CPUS_PER_TASK:-1}" --progress plain
