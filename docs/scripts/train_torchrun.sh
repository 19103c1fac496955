#!/bin/bash
# blocklearn under torchrun: the same line on every machine of a run.
#
#   DEVICES=8 RUN=runs/imagenet docs/scripts/train_torchrun.sh --config bt_blockwise.yaml --data.root IMAGENET
#
# On several machines say how many, and which of them the others look for; RUN lies on a disk that all share:
#
#   NODES=4 MASTER_ADDR=node1 DEVICES=8 RUN=/shared/runs/imagenet docs/scripts/train_torchrun.sh --config ...
#
# Where a process dies, torchrun starts all of them again, up to RESTARTS times, and --resume auto goes on
# from the last checkpoint.
set -eu

exec torchrun \
    --nnodes "${NODES:-1}" \
    --nproc-per-node "$DEVICES" \
    --rdzv-backend c10d \
    --rdzv-endpoint "${MASTER_ADDR:-127.0.0.1}:${MASTER_PORT:-29400}" \
    --rdzv-id "${RUN_ID:-blocklearn}" \
    --max-restarts "${RESTARTS:-3}" \
    -m blocklearn fit \
    --trainer.num_nodes "${NODES:-1}" \
    --trainer.devices "$DEVICES" \
    --trainer.default_root_dir "$RUN" \
    --resume auto \
    "$@"
