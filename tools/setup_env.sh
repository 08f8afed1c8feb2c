#!/usr/bin/env bash
# Make the Python environment that everything here runs in.
#
#   bash tools/setup_env.sh [onedl|classic]   set it up; seconds if nothing is to do
#   bash tools/setup_env.sh --check [STACK]   say only what would fail
#   bash tools/setup_env.sh --print-python    print the Python to use
#   --tests      MMTLALIGN_PYTHON must have what the tests need, too
#
# MMTLALIGN_VENV    folder of the environment (default: .venv of this checkout)
# MMTLALIGN_PYTHON  use this Python as it is: nothing is installed into it
# MAX_JOBS          compilers at once (default: the number of cores)
#
# A set-up that was interrupted goes on where it stopped. The versions are in
# requirements/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(realpath -m "${MMTLALIGN_VENV:-$root/.venv}")
stack=onedl
action=install
tests=
for argument; do
    case $argument in
        onedl | classic) stack=$argument ;;
        --check) action=check ;;
        --tests) tests=--tests ;;
        --print-python)
            # Not resolved further: a virtual environment's python is a link.
            realpath -s "$(command -v "${MMTLALIGN_PYTHON:-$venv/bin/python}" ||
                echo "$venv/bin/python")"
            exit
            ;;
        -h | --help)
            sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            exit
            ;;
        *)
            echo "unknown argument '$argument': onedl, classic, --check," \
                "--tests, --print-python or --help" >&2
            exit 2
            ;;
    esac
done

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
wanted="$stack ${pins%% *}"
stamp=$venv/mmtlalign-stamp
python=$venv/bin/python

works() { "$python" -c 'import pip' 2>/dev/null; }

installed() { # stack and pins, then the checkout that is installed editable
    works && [ "$(head -n 1 "$stamp" 2>/dev/null)" = "$wanted" ]
}

up_to_date() {
    installed && [ "$(tail -n 1 "$stamp")" = "$root" ]
}

if up_to_date; then
    "$python" "$root/tools/check_env.py" hosts || exit 1
    say "the $stack environment in $venv is up to date"
    exit
fi

other=$(head -n 1 "$stamp" 2>/dev/null || true)
if [ -n "$other" ] && [ "${other%% *}" != "$stack" ]; then
    say "$venv holds the ${other%% *} stack, and one environment cannot hold both"
    say "mend it: MMTLALIGN_VENV=$root/.venv-$stack bash tools/setup_env.sh $stack"
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
    for name in python3 python3.11 python3.12 python; do
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
        say "mend it: apt-get install -y python3 python3-dev python3-venv"
        exit 1
    fi
fi
if ! "$base" "$root/tools/check_env.py" machine --stack "$stack" --target "$venv"; then
    say "the $stack environment cannot be made yet; then run this again"
    exit 1
fi
if works; then
    "$python" "$root/tools/check_env.py" hosts || exit 1
fi
if [ "$action" = check ]; then
    say "nothing stands in the way; $venv is to be made or brought up to date"
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
    step "$name" "$python" -m pip install --disable-pip-version-check "$@"
}

say "setting up the $stack environment in $venv; all output goes to $log"
: >"$log"
works || step 'new environment' "$base" -m venv "$venv"

if ! installed; then
    rm -f "$stamp"
    "$python" "$root/tools/check_env.py" repair

    # Sources are built with the tools of the pins, not with what pip would fetch
    # for each of them: mmcv must see the torch that it will run with.
    pins=$venv/mmtlalign-pins.txt
    cat "$root"/requirements/{common,"$stack",test}.txt | grep -v '^-r' >"$pins"
    pip 'build tools' $(grep -E '^(setuptools|wheel|ninja|packaging)==' "$pins")
    grep -vE '^(onedl-)?mmcv==' "$pins" >"$pins.rest"
    pip 'torch, hosts and the rest' --no-build-isolation -r "$pins.rest"

    mmcv=$(grep -E '^(onedl-)?mmcv==' "$pins")
    MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)}
    export MAX_JOBS
    # ninja is looked up on PATH
    export PATH=$venv/bin:$PATH
    pip 'compiling mmcv' -v --no-build-isolation --no-deps "$mmcv"
    if ! "$python" -c 'import mmcv.ops' 2>>"$log" >&2; then
        # pip keeps a wheel that it compiled under the name of the source alone,
        # whatever torch it was compiled against.
        say "the mmcv in pip's cache does not fit this torch: compiling it again"
        wheel=${mmcv%%==*}
        "$python" -m pip cache remove "${wheel//-/_}" >>"$log" 2>&1 || true
        pip 'compiling mmcv' -v --no-build-isolation --no-deps --force-reinstall "$mmcv"
    fi
    step 'importing everything' "$python" -c \
        'import cv2, timm, mmcv.ops, mmpretrain, mmdet.apis, mmseg.apis'
fi

pip 'mmtlalign, editable' --no-build-isolation --no-deps --editable "$root"
printf '%s\n%s\n' "$wanted" "$root" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "the $stack environment in $venv is ready"
