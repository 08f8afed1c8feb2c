#!/usr/bin/env bash
# Train with several processes of one machine, on GPUs or, if there are none, on the CPU:
#   tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
# More machines: set NNODES, NODE_RANK, MASTER_ADDR (PORT if 29500 is taken).
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
config=$1 processes=$2
shift 2
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
