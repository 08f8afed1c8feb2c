#!/usr/bin/env bash
# Measure label tracing on an NVIDIA GPU: correctness, tiles, every table, a verdict.
#
#   bash tools/benchmarks/measure_on_gpu.sh pack WHEELS
#       Where there is a network: wheels of what a bare machine lacks (hosts, Python
#       only). The machine is expected to have PyTorch, Triton, timm, OpenCV, pytest.
#   bash tools/benchmarks/measure_on_gpu.sh run RESULTS [--wheels WHEELS]
#       [--minutes N] [--smoke] [STAGE...]
#       All stages, or those named. A stage that is done is skipped, until its file
#       RESULTS/STAGE.txt is deleted, and one that would not end within N minutes
#       (default 9) is left to the next call: bring RESULTS along and call again until
#       nothing is left. A stage is ended when it takes half as long again as planned,
#       or half a minute after N. If the variable OUT names a folder, RESULTS is put
#       there as one file after every stage.
#   --smoke    the same commands in small on a CPU, as far as it can run them: does the
#       script run, no numbers
#
# The stages are at the end of this file, the most important first, with the seconds
# that are planned for them, 24 minutes in all.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${MMTLALIGN_PYTHON:-python3}
hosts='onedl-mmengine onedl-mmpretrain onedl-mmcv addict yapf platformdirs termcolor
    mat4py modelindex importlib-metadata zipp pytest-timeout click markdown ordered-set
    model-index'

timed() { # Python until the end of the stage
    timeout --signal INT --kill-after 5 "$((end > SECONDS ? end - SECONDS : 1))" \
        "$python" "$@"
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
        timed "$root/tools/check_env.py" kernels # tries the usual case
}

benchmark() { # file, arguments of benchmark.py
    local file=$1
    shift
    timed "$root/tools/benchmarks/benchmark.py" "$@" --json "$results/$file.json"
}

tests() { # files
    timed -m pytest -q -p no:cacheprovider -m gpu "${@/#/$root/tests/}"
}

correct() {
    tests tracing/test_share_kernels.py
}

adopt() { # the tuned table, which is tested as the first one was
    cp "$table" "$results/share_blocks_before.json"
    cp "$results/share_blocks.json" "$table"
    correct && return
    local code=$?
    cp "$results/share_blocks_before.json" "$table"
    return $code
}

is_adopted() { # the last line counts the tests
    tail -n 1 "$results/adopted.txt" 2>/dev/null | grep -v 'failed\|error' |
        grep -q ' passed'
}

ended() { # tests that fail are a result, too, unlike those that are cut short
    "$@" || [ $? = 1 ]
}

stage() { # name, planned seconds, command...
    local name=$1 planned=$2 began=$SECONDS last=$((60 * budget + 30))
    local end=$((began + planned * 3 / 2))
    end=$((end < last ? end : last))
    shift 2
    if [ -e "$results/$name.txt" ] || [[ -n $only && " $only " != *" $name "* ]]; then
        return
    fi
    if ((began + planned > 60 * budget)); then
        left+=("$name")
        return
    fi
    echo "--- $name: $planned seconds are planned"
    if "$@" 2>&1 | tee "$results/$name.part"; then
        mv "$results/$name.part" "$results/$name.txt"
        echo "--- $name: $((SECONDS - began)) seconds"
    else
        failed+=("$name")
    fi
    keep
}

on_gpu() { [ -n "$smoke" ] || stage "$@"; }

finish() {
    [ -z "$smoke" ] || echo 'A smoke run: its numbers say nothing.'
    "$python" "$root/tools/benchmarks/gpu_verdict.py" "$results" |
        tee "$results/verdict.md"
    keep
    [ ${#left[@]} = 0 ] || echo "left to the next call: ${left[*]}"
    [ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
    exit 0
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
papers=(deit-small swin-tiny deit-base pvt-small dhvt-small deit-tiny swin-small
    swin-base)
quick=(deit-small swin-tiny) deits=(deit-small deit-tiny)
host_bound=(swin-tiny deit-tiny pvt-small)
rounds=(--repeats 15)
few=(--repeats 9)
both=(--variants mmpretrain timm tlalign)
three=(--variants mmpretrain timm transmix tlalign)
all=(--variants mmpretrain timm control transmix tlalign)
waits=(--sync-check) lengths=(577 1025 4097) types=(fp32 fp16) small=32 ahead=10
way=triton
if [ -n "$smoke" ]; then
    device=(--precision bf16 --batch 2) papers=(deit-tiny) quick=(deit-tiny)
    deits=(deit-tiny) host_bound=(deit-tiny) rounds=(--repeats 1) few=(--repeats 1)
    waits=() lengths=(50) types=(fp32) small=2 ahead=2 way=auto
fi
export MMTLALIGN_SHARE_KERNEL=$way # triton: a fallback is an error, not a time

# A fresh machine has neither the wheels nor the table of the call before.
table=$root/mmtlalign/tracing/kernels/share_blocks.json
[ -z "$wheels" ] || [ -d "$results/site" ] || rm -f "$results/environment.txt"
! is_adopted || cp "$results/share_blocks.json" "$table"

blocks=$root/tools/benchmarks/measure_blocks.py

stage environment 45 install
[ ${#failed[@]} = 0 ] || finish
on_gpu correctness 150 ended correct
for model in "${papers[@]}"; do
    stage steps-$model 40 benchmark steps-$model $model "${device[@]}" "${all[@]}" \
        "${rounds[@]}" "${waits[@]}"
done
on_gpu shapes 30 timed "$blocks" --shapes --json "$results/shapes.json"
on_gpu waits 45 ended tests methods/test_classifier.py engine/test_nan_guard.py
MMTLALIGN_SHARE_KERNEL=sdpa stage before 60 benchmark before "${quick[@]}" \
    "${device[@]}" "${both[@]}" "${few[@]}"
stage lengths 100 benchmark lengths "${deits[@]}" "${device[@]}" \
    --lengths "${lengths[@]}" "${three[@]}" "${few[@]}"
stage ahead 40 benchmark ahead "${quick[@]}" "${device[@]}" "${both[@]}" "${few[@]}" \
    --steps-per-sample $ahead
on_gpu tiles 150 timed "$blocks" --tune --json "$results/tiles.json" \
    --out "$results/share_blocks.json"
[ ! -e "$results/tiles.txt" ] || stage adopted 90 ended adopt
! is_adopted || stage tuned 45 benchmark tuned "${quick[@]}" "${device[@]}" \
    "${three[@]}" "${few[@]}"
stage host 60 benchmark host "${host_bound[@]}" "${device[@]}" --batch $small \
    "${both[@]}" "${few[@]}"
stage types 70 benchmark types "${quick[@]}" "${device[@]}" "${both[@]}" "${few[@]}" \
    --precision "${types[@]}"
stage profile 30 benchmark profile "${quick[@]}" "${device[@]}" "${both[@]}" \
    --repeats 1 --profile
on_gpu attention 40 timed "$root/tools/benchmarks/measure_kernels.py" \
    --device cuda --repeats 7 --elements $((2 ** 26)) --out "$results/kernel_times.json"
on_gpu compiled 150 benchmark compiled deit-small "${device[@]}" "${both[@]}" \
    "${few[@]}" --compile
finish
