#!/usr/bin/env bash
# Measure label tracing on an NVIDIA GPU: correctness, tiles, every table, a verdict.
#
#   bash tools/benchmarks/measure_on_gpu.sh pack WHEELS
#       Where there is a network: wheels of what a bare machine lacks (hosts, Python
#       only). The machine is expected to have PyTorch, Triton, timm, OpenCV, pytest.
#   bash tools/benchmarks/measure_on_gpu.sh run RESULTS [--wheels WHEELS]
#       [--minutes N] [--smoke] [STAGE...]
#       All stages, or those named. A stage that is done (RESULTS/STAGE.txt) is skipped,
#       and one that would not end within N minutes (default 9) is left to the next
#       call: bring RESULTS along and call again until it prints the verdict. A stage
#       that takes longer than planned is ended half a minute after N. If the variable
#       OUT names a folder, RESULTS is put there as one file after every stage, too.
#   --smoke    the same commands in small on a CPU: does the script run, no numbers
#
# Stages and planned minutes, 24 in all, are at the end of this file.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${MMTLALIGN_PYTHON:-python3}
hosts='onedl-mmengine onedl-mmpretrain onedl-mmcv addict yapf platformdirs termcolor
    mat4py modelindex importlib-metadata zipp pytest-timeout click markdown ordered-set
    model-index'

timed() { # Python with the time that is left
    local left=$((60 * budget + 30 - SECONDS))
    timeout --signal INT --kill-after 5 "$((left > 10 ? left : 10))" "$python" "$@"
}

keep() { # the results so far
    [ -z "${OUT:-}" ] || tar czf "$OUT/results.tgz" -C "$results" --exclude site .
}

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | head -n -1; }

pack() { # folder
    mkdir -p "$1"
    local pins name
    pins=$(cat "$root"/requirements/{onedl,common,test}.txt)
    for name in $hosts; do
        grep -iE "^${name//-/[-_]}==" <<<"$pins" | head -n 1
    done | sed 's/;.*//' >"$1/pins.txt"
    # As in setup_env.sh: without torch in the isolated build mmcv compiles nothing, and
    # pip's cache might have a wheel that was compiled.
    MMCV_WITH_OPS=0 "$python" -m pip wheel --disable-pip-version-check -q --no-deps \
        --no-cache-dir --wheel-dir "$1" -r "$1/pins.txt" &&
        ls -sh "$1" && du -sh "$1"
}

install() { # the wheels and nothing of an index, into a folder beside the results
    [ -z "$wheels" ] || "$python" -m pip install -q --disable-pip-version-check \
        --no-index --no-deps --upgrade --target "$results/site" "$wheels"/*.whl
    "$python" -c 'import torch, timm, mmcv, mmengine, mmpretrain, mmtlalign
print("torch", torch.__version__, "timm", timm.__version__, "mmcv", mmcv.__version__)' &&
        "$python" "$root/tools/check_env.py" kernels
}

benchmark() { # file, arguments of benchmark.py
    local file=$1
    shift
    timed "$root/tools/benchmarks/benchmark.py" "$@" --json "$results/$file.json"
}

adopt() { # the tuned table, which is tested as the first one was
    local table=$root/mmtlalign/tracing/kernels/share_blocks.json
    cp "$table" "$results/share_blocks_before.json"
    cp "$results/share_blocks.json" "$table"
    correct || { cp "$results/share_blocks_before.json" "$table"; return 1; }
}

correct() {
    MMTLALIGN_SHARE_KERNEL=triton timed -m pytest -q -p no:cacheprovider -m gpu \
        "$root/tests/tracing/test_share_kernels.py" \
        "$root/tests/methods/test_classifier.py" "$root/tests/engine/test_nan_guard.py"
}

stage() { # name, planned minutes, command...
    local name=$1 minutes=$2
    shift 2
    if [ -e "$results/$name.txt" ] || [[ -n $only && " $only " != *" $name "* ]]; then
        return
    fi
    if ((SECONDS + 60 * minutes > 60 * budget)); then
        left+=("$name")
        return
    fi
    echo "--- $name: $minutes minutes are planned"
    local began=$SECONDS
    if "$@" 2>&1 | tee "$results/$name.part"; then
        mv "$results/$name.part" "$results/$name.txt"
        echo "--- $name: $((SECONDS - began)) seconds"
    else
        failed+=("$name")
    fi
    keep
}

case ${1:-} in
    pack) pack "${2:?a folder for the wheels}"; exit ;;
    run) results=$(realpath -m "${2:?a folder for the results}") ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
esac
shift 2
wheels= budget=9 smoke= only= left=() failed=()
while [ $# -gt 0 ]; do
    case $1 in
        --wheels) wheels=$(realpath "$2"); shift ;;
        --minutes) budget=$2; shift ;;
        --smoke) smoke=1 ;;
        -*) usage >&2; exit 2 ;;
        *) only+=" $1" ;;
    esac
    shift
done
mkdir -p "$results"
export PYTHONPATH=$root:$results/site${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
device=(--device cuda --precision bf16 --batch 128)
papers=papers
quick=(deit-small swin-tiny)
rounds=(--repeats 15)
few=(--repeats 9)
both=(--variants mmpretrain timm tlalign)
all=(--variants mmpretrain timm control transmix tlalign)
waits=(--sync-check) lengths=(577 1025 4097) types=(fp32 fp16) small=32
if [ -n "$smoke" ]; then
    device=(--precision bf16 --batch 2) papers=deit-tiny quick=(deit-tiny)
    rounds=(--repeats 1) few=(--repeats 1) waits=() lengths=(577) types=(fp32) small=2
fi

# A fresh machine has neither the wheels nor the table of the call before.
[ -z "$wheels" ] || [ -d "$results/site" ] || rm -f "$results/environment.txt"
[ ! -e "$results/adopted.txt" ] ||
    cp "$results/share_blocks.json" "$root/mmtlalign/tracing/kernels/"

stage environment 1 install
if [ -z "$smoke" ]; then
    stage correctness 2 correct
    [ ${#failed[@]} = 0 ] || exit 1
    stage shapes 1 timed "$root/tools/benchmarks/measure_blocks.py" --shapes \
        --json "$results/shapes.json"
    stage tiles 3 timed "$root/tools/benchmarks/measure_blocks.py" --tune \
        --out "$results/share_blocks.json"
    stage adopted 1 adopt
fi
stage steps 5 benchmark steps $papers "${device[@]}" "${all[@]}" "${rounds[@]}" \
    "${waits[@]}"
MMTLALIGN_SHARE_KERNEL=sdpa stage before 2 benchmark before "${quick[@]}" \
    "${device[@]}" "${both[@]}" "${few[@]}"
stage lengths 2 benchmark lengths deit-small "${device[@]}" --lengths "${lengths[@]}" \
    "${both[@]}" "${few[@]}"
stage types 2 benchmark types "${quick[@]}" "${device[@]}" "${both[@]}" "${few[@]}" \
    --precision "${types[@]}"
stage compiled 2 benchmark compiled deit-small "${device[@]}" "${all[@]}" "${few[@]}" \
    --compile
stage host 1 benchmark host deit-tiny swin-tiny "${device[@]}" --batch $small \
    "${both[@]}" "${few[@]}"
stage profile 1 benchmark profile "${quick[@]}" "${device[@]}" "${both[@]}" \
    --repeats 1 --profile
if [ -z "$smoke" ]; then
    stage attention 1 timed "$root/tools/benchmarks/measure_kernels.py" \
        --device cuda --repeats 7 --elements $((2 ** 26)) --out "$results/kernel_times.json"
fi
[ -z "$smoke" ] || echo 'A smoke run: its numbers say nothing.'
"$python" "$root/tools/benchmarks/gpu_verdict.py" "$results" |
    tee "$results/verdict.md"
keep
[ ${#left[@]} = 0 ] || echo "left to the next call: ${left[*]}"
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
