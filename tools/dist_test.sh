#!/usr/bin/env bash
# Test with several processes, on GPUs or, if there are none, on the CPU:
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
# On each of several machines: the variables of tools/dist_train.sh.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
config=$1 checkpoint=$2 processes=$3
shift 3
TOOL=test.py exec bash "$(dirname "$0")/dist_train.sh" \
    "$config" "$processes" "$checkpoint" "$@"
