#!/usr/bin/env bash
# Set up the environment if need be, then run the tests.
#
#   bash tools/run_tests.sh [onedl|classic] [pytest arguments]
#
# Examples: -m 'not slow'    -k tracing    tests/test_golden.py -x
# MMTLALIGN_DATA    folder with archives of real images; without it the tests
#                   marked real_data are skipped
# MMTLALIGN_GOLDEN  folder with further golden numbers
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

bash "$root/tools/setup_env.sh" --tests "$stack"
python=$(bash "$root/tools/setup_env.sh" --print-python)

# The networks of the tests are small: more threads make them slower.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
cd "$root"
exec "$python" -m pytest -q --durations=15 "$@"
