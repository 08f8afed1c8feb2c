#!/usr/bin/env bash
# Set up the environment if need be, then run the tests.
#
#   bash tools/run_tests.sh [onedl|classic] [--torch VERSION] [pytest arguments]
#
# Examples: -m 'not slow'    -k tracing    tests/test_golden.py -x    -n 0
# --torch 2.14.1, or newest, runs them with that PyTorch and the torchvision that fits,
# in an environment of its own, see tools/setup_env.sh.
# Two processes share the tests where there are two cores, file by file; -n 0 runs
# them in one, as -s and a debugger need it.
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
torch=()
if [ "${1:-}" = --torch ]; then
    torch=(--torch "${2:?--torch needs a version, such as 2.14.1, or newest}")
    shift 2
fi

bash "$root/tools/setup_env.sh" --tests "$stack" "${torch[@]}"
python=$(bash "$root/tools/setup_env.sh" --print-python "${torch[@]}")

# The networks of the tests are small: one core each serves two processes better
# than two threads serve one.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
cd "$root"
# 'logical' is the number of cores, and gives way to --pdb. A file stays in one
# process, with what its tests share; tests/conftest.py says which begin first.
exec "$python" -m pytest -q --durations=15 \
    -n logical --maxprocesses 2 --dist loadscope --no-loadscope-reorder "$@"
