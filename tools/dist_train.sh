#!/usr/bin/env bash
# Train with several processes, on GPUs or, if there are none, on the CPU:
#   tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
# On each of several machines: set NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
config=$1 processes=$2
shift 2
# Alone, torchrun finds a free port, so that two runs on one machine do not meet.
meeting=(--standalone)
if [ "${NNODES:-1}" -gt 1 ]; then
    meeting=(--nnodes "$NNODES" --node-rank "$NODE_RANK"
        --master-addr "$MASTER_ADDR" --master-port "${MASTER_PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${meeting[@]}" \
    --nproc-per-node "$processes" \
    "$(dirname "$0")/${TOOL:-train.py}" "$config" --launcher pytorch "$@"
