#!/usr/bin/env bash
# Set up the environment if need be, then run the whole way once: pretrain a
# small backbone with TL-Align, let it segment and detect, and show what came out.
#
#   bash tools/quickstart.sh [onedl|classic] [--fast] [--resume] [--smoke] [--help]
#
# Five to fourteen minutes on two CPU cores after the set-up (docs/quickstart.md).
# --fast: one to five, the same stages with fewer steps and one seed. --smoke: a
# dozen steps of each, to see whether all runs. No download beyond the environment, no
# GPU. Ctrl-C stops it, --resume goes on.
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

plan=configs/plans/quickstart.py
export MMTLALIGN_COMMAND="bash tools/quickstart.sh $*"
rest=()
for argument in "$@"; do
    case $argument in
        --fast) plan=configs/plans/quickstart_fast.py ;;
        -h | --help) exec sed -n '2,12s/^# \{0,1\}//p' "$root/tools/quickstart.sh" ;;
        *) rest+=("$argument") ;;
    esac
done

bash "$root/tools/setup_env.sh" "$stack"
python=$(bash "$root/tools/setup_env.sh" --print-python)

cd "$root"
exec "$python" tools/experiments/pretrain_to_downstream.py "$plan" ${rest[@]+"${rest[@]}"}
