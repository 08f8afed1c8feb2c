#!/usr/bin/env bash
# Build the documentation's site: work_dirs/site/index.html, which opens from disk.
#
#   bash tools/docs/build.sh                 make the environment if need be, build
#   bash tools/docs/build.sh --environment   make the environment alone
#   bash tools/docs/build.sh serve           show it while pages are edited
#
# A link that leads nowhere ends the build. Other arguments are mkdocs'.
# MMTLALIGN_DOCS_VENV  folder of the environment (default: .venv-docs of this checkout)
# MMTLALIGN_PYTHON     Python that the environment is made with (default: python3)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${MMTLALIGN_DOCS_VENV:-$root/.venv-docs}
pins=$root/requirements/docs.txt
if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    exec sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
fi
python=${MMTLALIGN_PYTHON:-python3}
if ! cmp -s "$pins" "$venv/mmtlalign-docs.txt"; then
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$("$python" --version): the site needs Python 3.11 or newer;" \
            'set MMTLALIGN_PYTHON to one' >&2
        exit 1
    fi
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$pins"
    # Written last, so that a half-made environment never has it.
    cp "$pins" "$venv/mmtlalign-docs.txt"
fi
[ "${1:-}" = --environment ] && exit
cd "$root"
# The theme's notice of mkdocs 2, which is not what is pinned.
export NO_MKDOCS_2_WARNING=1
exec "$venv/bin/python" -m mkdocs "${@:-build}"
