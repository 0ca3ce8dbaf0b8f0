#!/bin/bash
# A study over MPI ranks in one Slurm job: sbatch --ntasks=64 scripts/cluster/ranks.sh study.toml
# Rank 0 writes study.db. Submit it again after a failure or a time limit: it goes on where it was. PMI says how ranks
# find each other: pmix for Open MPI (default), pmi2 for MPICH and its family; srun --mpi=list has those of the cluster.
#SBATCH --job-name=danaus-ranks
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=1
#SBATCH --requeue
set -euo pipefail
if [ $# -lt 1 ]; then
  echo "usage: sbatch --ntasks=RANKS scripts/cluster/ranks.sh STUDY.toml" >&2
  exit 2
fi
study=$1
danaus=${DANAUS:-danaus}
name=$(basename "$study" .toml)
exec srun --mpi="${PMI:-pmix}" "$danaus" explore "$study" -o "$name.db" --resume --progress plain
