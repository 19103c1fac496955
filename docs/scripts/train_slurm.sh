#!/bin/bash
# blocklearn under SLURM, one task a device:
#
#   RUN=/shared/runs/imagenet sbatch docs/scripts/train_slurm.sh --config bt_blockwise.yaml --data.root IMAGENET
#
# For another size: sbatch --nodes 1 --ntasks-per-node 4 --gpus-per-node 4 docs/scripts/train_slurm.sh ...
# RUN lies on a disk that all nodes share.
#
#SBATCH --job-name=blocklearn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@90
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu

# the first node of the job, and a port of its own for every job on it
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT

# --wait: where one task has ended and another still hangs after so many seconds, srun ends it. With --then_test true
# the first task tests the run alone when the others have ended: give WAIT more seconds than that takes.
srun --wait="${WAIT:-300}" blocklearn fit \
    --trainer.num_nodes "$SLURM_NNODES" \
    --trainer.devices "$SLURM_NTASKS_PER_NODE" \
    --trainer.default_root_dir "$RUN" \
    --resume auto \
    "$@"
