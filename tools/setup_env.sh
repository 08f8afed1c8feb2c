#!/usr/bin/env bash
# Make the Python environment that everything here runs in.
#
#   bash tools/setup_env.sh [onedl|classic]   set it up; seconds if nothing is to do
#   bash tools/setup_env.sh --check [STACK]   say only what would fail
#   bash tools/setup_env.sh --print-python    print the Python to use
#   --tests         MMTLALIGN_PYTHON must have what the tests need, too
#   --compile-mmcv  compile all of mmcv's operators: ten minutes and more, with a
#                   compiler, Python's headers and, for a GPU, a CUDA toolkit.
#                   Without, they come from torchvision and PyTorch, see
#                   docs/mmcv_operators.md
#   --torch VERSION another torch than the pinned one, such as 2.14.1 or newest, with
#                   the torchvision that fits, in an environment of its own
#
# MMTLALIGN_VENV    folder of the environment (default: .venv of this checkout)
# MMTLALIGN_PYTHON  use this Python as it is: nothing is installed into it
# MAX_JOBS          compilers at once (default: the number of cores)
#
# A set-up that was interrupted goes on where it stopped. The versions are in
# requirements/. Nothing is compiled unless you ask for it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stack=onedl
action=install
tests=
compile=
torch=
while [ $# -gt 0 ]; do
    case $1 in
        onedl | classic) stack=$1 ;;
        --check) action=check ;;
        --print-python) action=print ;;
        --tests) tests=--tests ;;
        --compile-mmcv) compile=--compile-mmcv ;;
        --torch)
            torch=${2:?"--torch needs a version, such as 2.14.1, or newest"}
            shift
            ;;
        -h | --help)
            sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            exit
            ;;
        *)
            echo "unknown argument '$1': onedl, classic, --check, --tests," \
                "--compile-mmcv, --torch VERSION, --print-python or --help" >&2
            exit 2
            ;;
    esac
    shift
done
venv=$(realpath -m "${MMTLALIGN_VENV:-$root/.venv${torch:+-torch-$torch}}")
if [ $action = print ]; then
    # Not resolved further: a virtual environment's python is a link.
    realpath -s "$(command -v "${MMTLALIGN_PYTHON:-$venv/bin/python}" ||
        echo "$venv/bin/python")"
    exit
fi

say() { echo "mmtlalign: $*" >&2; }

# --- an environment of the user's own ---------------------------------------

if [ -n "${MMTLALIGN_PYTHON:-}" ]; then
    if ! command -v "$MMTLALIGN_PYTHON" >/dev/null; then
        say "MMTLALIGN_PYTHON=$MMTLALIGN_PYTHON cannot be run: give the path of a" \
            "Python, or unset it"
        exit 1
    fi
    "$MMTLALIGN_PYTHON" "$root/tools/check_env.py" foreign \
        --stack "$stack" $tests || exit 1
    say "using $MMTLALIGN_PYTHON as it is"
    exit
fi

# --- nothing to do? ---------------------------------------------------------

# The stamp is written last, so that a half-made environment never has one.
pins=$(cd "$root/requirements" && cat common.txt "$stack.txt" test.txt | sha256sum)
wanted="$stack ${pins%% *}${torch:+ torch $torch}"
stamp=$venv/mmtlalign-stamp
python=$venv/bin/python

works() { "$python" -c 'import pip' 2>/dev/null; }

installed() { # stack and pins, then the checkout that is installed editable
    works && [ "$(head -n 1 "$stamp" 2>/dev/null)" = "$wanted" ]
}

compiled() { compgen -G "$venv/lib/python*/site-packages/mmcv/_ext*.so" >/dev/null; }

up_to_date() {
    installed && [ "$(tail -n 1 "$stamp")" = "$root" ] &&
        { [ -z "$compile" ] || compiled; }
}

if up_to_date; then
    "$python" "$root/tools/check_env.py" hosts || exit 1
    say "the $stack environment in $venv is up to date"
    exit
fi

other=$(head -n 1 "$stamp" 2>/dev/null || true)
if [ -n "$other" ] && [ "${other%% *}" != "$stack" ]; then
    say "$venv holds the ${other%% *} stack, and one environment cannot hold both"
    say "remedy: MMTLALIGN_VENV=$root/.venv-$stack bash tools/setup_env.sh $stack"
    exit 1
fi

# --- what would fail late -----------------------------------------------------

if works; then
    base=$python
else
    if [ -n "$(ls -A "$venv" 2>/dev/null | grep -v ^mmtlalign-)" ] &&
        [ ! -e "$venv/pyvenv.cfg" ]; then
        say "$venv is neither empty nor a virtual environment: give MMTLALIGN_VENV" \
            "another folder"
        exit 1
    fi
    base=
    for name in python3 python3.11 python3.12 python3.13 python3.10 python; do
        # The path behind a launcher, so that the environment does not rest on it.
        path=$("$name" -c 'import sys; print(sys.executable)' 2>/dev/null) || continue
        first=${first:-$path}
        if "$path" "$root/tools/check_env.py" interpreter --stack "$stack" \
            2>/dev/null; then
            base=$path
            break
        fi
    done
    base=${base:-${first:-}}
    if [ -z "$base" ]; then
        say "no Python found"
        say "remedy: apt-get install -y python3 python3-venv"
        exit 1
    fi
fi
if ! "$base" "$root/tools/check_env.py" machine --stack "$stack" --target "$venv" \
    $compile; then
    say "the $stack environment cannot be made yet; then run this again"
    exit 1
fi
if works; then
    "$python" "$root/tools/check_env.py" hosts || exit 1
fi
if [ "$action" = check ]; then
    say "no problem was found; $venv is to be made or brought up to date"
    exit
fi

# --- set up -------------------------------------------------------------------

mkdir -p "$venv"
if command -v flock >/dev/null; then
    exec 9>"$venv/mmtlalign-lock"
    flock --nonblock 9 || {
        say "another set-up is at work in $venv: waiting for it"
        flock 9
        if up_to_date; then
            say "the other set-up has made it"
            exit
        fi
    }
fi

log=$venv/mmtlalign-setup.log
step() { # name, command...
    local name=$1
    shift
    "$base" "$root/tools/run_step.py" --log "$log" "$name" -- "$@" 9>&-
}
pip() { # name, arguments of `pip install`...
    local name=$1
    shift
    # Without --no-compile pip compiles 17,000 modules, of which few are ever imported.
    step "$name" "$python" -m pip install --disable-pip-version-check --no-compile "$@"
}

say "setting up the $stack environment in $venv; all output goes to $log"
: >"$log"
works || step 'new environment' "$base" -m venv "$venv"

if ! installed; then
    rm -f "$stamp"
    "$python" "$root/tools/check_env.py" repair

    # Sources are built with the tools of the pins, not with what pip would fetch
    # for each of them.
    pins=$venv/mmtlalign-pins.txt
    cat "$root"/requirements/{common,"$stack",test}.txt | grep -v '^-r' >"$pins"
    if [ -n "$torch" ]; then
        # torch brings its own cuda-bindings and nvidia-…
        sed -i -E '/^(torch|torchvision|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/d' "$pins"
        [ "$torch" = newest ] && echo torch >>"$pins" || echo "torch==$torch" >>"$pins"
        echo torchvision >>"$pins"
    fi
    pip 'build tools' $(grep -E '^(setuptools|wheel|packaging)==' "$pins")
    grep -vE '^(onedl-)?mmcv(-lite)?==' "$pins" >"$pins.rest"
    pip 'torch, hosts and the rest' --no-build-isolation -r "$pins.rest"
fi

mmcv=$(grep -E '^(onedl-)?mmcv(-lite)?==' "$root/requirements/$stack.txt")
# pip keeps a wheel under the name of its source alone, compiled or not and whatever
# torch it was compiled against: hence without its cache.
mmcv_options='--no-deps --no-cache-dir --force-reinstall'
if [ -n "$compile" ] && ! compiled; then
    rm -f "$stamp"
    mmcv=${mmcv/mmcv-lite/mmcv}
    "$python" -m pip uninstall -qy mmcv-lite >>"$log" 2>&1
    export MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)}
    # ninja is looked up on PATH
    export PATH=$venv/bin:$PATH
    pip ninja ninja==1.13.2
    pip 'compiling mmcv' -v --no-build-isolation $mmcv_options "$mmcv"
elif ! installed; then
    # Built apart from the environment, where its set-up finds no torch and compiles
    # nothing.
    pip 'mmcv, Python only' $mmcv_options "$mmcv"
fi

pip 'mmtlalign, editable' --no-build-isolation --no-deps --editable "$root"
installed || step 'importing everything' "$python" -c \
    'import cv2, timm, mmcv.ops, mmpretrain, mmdet.apis, mmseg.apis'
printf '%s\n%s\n' "$wanted" "$root" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "the $stack environment in $venv is ready"
