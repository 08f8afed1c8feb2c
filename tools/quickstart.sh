#!/usr/bin/env bash
# Set up the environment if need be, then run the whole way once: pretrain a
# small backbone with TL-Align, let it segment and detect, and show what came out.
#
#   bash tools/quickstart.sh [onedl|classic] [--resume] [--smoke] [--help]
#
# No download beyond the environment, no GPU. Ctrl-C stops it, --resume goes on.
# MMTLALIGN_VENV, MMTLALIGN_PYTHON: see tools/setup_env.sh
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stack=onedl
case ${1:-} in
    onedl | classic)
        stack=$1
        shift
        ;;
esac

bash "$root/tools/setup_env.sh" "$stack"
python=$(bash "$root/tools/setup_env.sh" --print-python)

cd "$root"
export MMTLALIGN_COMMAND="bash tools/quickstart.sh $*"
exec "$python" tools/experiments/pretrain_to_downstream.py configs/plans/quickstart.py "$@"
