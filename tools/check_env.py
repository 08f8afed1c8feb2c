"""Say before a set-up what would fail late, and the line that mends it.

Standard library only, and in syntax that an old Python can read: it runs before
anything is installed. `tools/setup_env.sh` calls it.
"""

import argparse
import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import namedtuple
from pathlib import Path

Finding = namedtuple('Finding', 'problem remedy')

ROOT = Path(__file__).resolve().parent.parent

# First and last Python that the pins of a stack can be installed on.
PYTHONS = {'onedl': ((3, 11), (3, 12)), 'classic': ((3, 11), (3, 11))}

# CUDA that the pinned torch was built with; another major version is refused.
CUDA_MAJOR = {'onedl': 13, 'classic': 12}

# GB, measured on Linux x86-64 (torch brings NVIDIA's libraries): what the
# environment takes, and what pip holds in its cache and temporary folder.
ENVIRONMENT_GB = 6.5
DOWNLOAD_GB = 2.5

# What each library that OpenCV loads is called by the package managers.
OPENCV_LIBRARIES = {
    'libGL.so.1': {'apt-get': 'libgl1', 'dnf': 'mesa-libGL'},
    'libgthread-2.0.so.0': {'apt-get': 'libglib2.0-0', 'dnf': 'glib2'},
}

# What an environment of the user's own must import, and the pin that brings it.
IMPORTS = {
    'torch': 'torch',
    'torchvision': 'torchvision',
    'mmengine': 'mmengine',
    'mmcv': 'mmcv',
    'mmpretrain': 'mmpretrain',
    'mmdet': 'mmdet',
    'mmseg': 'mmsegmentation',
    'timm': 'timm',
    'sklearn': 'scikit-learn',
    'matplotlib': 'matplotlib',
    'pycocotools': 'pycocotools',
}
TEST_IMPORTS = {
    'pytest': 'pytest',
    'pytest_timeout': 'pytest-timeout',
    'hypothesis': 'hypothesis',
}


def install_line(**packages):
    """The line that installs system packages here.

    Args:
        **packages: package name by package manager, `apt_get=` and `dnf=`.
    """
    for manager in ('apt-get', 'dnf'):
        if shutil.which(manager):
            sudo = '' if os.geteuid() == 0 else 'sudo '
            return '{}{} install -y {}'.format(
                sudo, manager, packages[manager.replace('-', '_')]
            )
    return 'install {} with the package manager of this system'.format(
        packages['apt_get']
    )


def check_python(stack, version=sys.version_info[:2]):
    """The pins of a stack exist for a range of Python versions only."""
    first, last = PYTHONS[stack]
    if first <= tuple(version) <= last:
        return []
    wanted = 'Python {}.{} to {}.{}'.format(*first, *last)
    if first == last:
        wanted = 'Python {}.{}'.format(*first)
    name = 'python{}.{}'.format(*first)
    return [
        Finding(
            'Python {}.{} does not fit: the {} stack needs {}'.format(
                version[0], version[1], stack, wanted
            ),
            install_line(
                apt_get='{0} {0}-dev {0}-venv'.format(name),
                dnf='{0} {0}-devel'.format(name),
            ),
        )
    ]


def check_compiler():
    """Compiling mmcv takes a C++ compiler."""
    if any(shutil.which(c) for c in (os.environ.get('CXX'), 'c++', 'g++') if c):
        return []
    return [
        Finding(
            'no C++ compiler (c++ or g++), which mmcv is compiled with',
            install_line(apt_get='g++', dnf='gcc-c++'),
        )
    ]


def check_headers(include=None):
    """Compiling mmcv takes Python's headers."""
    include = Path(include or sysconfig.get_paths()['include'])
    if (include / 'Python.h').exists():
        return []
    name = 'python{}.{}'.format(*sys.version_info[:2])
    return [
        Finding(
            'no Python.h in {}, which mmcv is compiled against'.format(include),
            install_line(apt_get=name + '-dev', dnf=name + '-devel'),
        )
    ]


def check_venv():
    """A new environment takes the modules venv and ensurepip."""
    if importlib.util.find_spec('venv') and importlib.util.find_spec('ensurepip'):
        return []
    name = 'python{}.{}'.format(*sys.version_info[:2])
    return [
        Finding(
            'this Python has no module ensurepip, which makes environments',
            install_line(apt_get=name + '-venv', dnf=name),
        )
    ]


def check_opencv_libraries(libraries=None):
    """OpenCV loads system libraries that a bare machine lacks."""
    missing = []
    for library, packages in (libraries or OPENCV_LIBRARIES).items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append((library, packages))
    if not missing:
        return []
    return [
        Finding(
            'OpenCV needs {}, not found'.format(' and '.join(m[0] for m in missing)),
            install_line(
                apt_get=' '.join(m[1]['apt-get'] for m in missing),
                dnf=' '.join(m[1]['dnf'] for m in missing),
            ),
        )
    ]


def check_cuda_compiler(stack, gpu=None):
    """With a GPU in sight, mmcv's CUDA operators are compiled with nvcc.

    Args:
        stack (str): its torch was built with the CUDA of `CUDA_MAJOR`.
        gpu (bool, optional): whether there is a GPU; asks the system if None.
    """
    if gpu is None:
        gpu = Path('/dev/nvidiactl').exists()
    if not gpu or os.environ.get('CUDA_VISIBLE_DEVICES') == '':
        return []
    homes = [os.environ.get('CUDA_HOME'), os.environ.get('CUDA_PATH')]
    places = [os.path.join(h, 'bin') for h in homes + ['/usr/local/cuda'] if h]
    nvcc = next(filter(None, (shutil.which('nvcc', path=p) for p in places)), None)
    nvcc = nvcc or shutil.which('nvcc')
    problem = 'an NVIDIA GPU, but no nvcc'
    if nvcc:
        said = subprocess.run([nvcc, '--version'], stdout=subprocess.PIPE).stdout
        release = re.search(r'release (\d+)', said.decode(errors='replace'))
        if not release or int(release.group(1)) == CUDA_MAJOR[stack]:
            return []
        problem = '{} is of CUDA {}'.format(nvcc, release.group(1))
    return [
        Finding(
            '{}: the CUDA operators of mmcv need nvcc of CUDA {}'.format(
                problem, CUDA_MAJOR[stack]
            ),
            'CUDA_VISIBLE_DEVICES= bash tools/setup_env.sh {}  (operators for the CPU '
            'only; or install that CUDA toolkit and set CUDA_HOME)'.format(stack),
        )
    ]


def nearest_folder(path):
    """The path itself or the first of its parents that exists."""
    path = Path(path).absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def check_disk(target, free=lambda path: shutil.disk_usage(path).free):
    """Torch with NVIDIA's libraries is big, and pip holds it twice.

    Args:
        target: folder of the environment, which need not exist yet.
        free (callable): bytes free on the file system of a folder.
    """
    need = {}
    big = any(Path(target).glob('lib/python*/site-packages/torch/lib/libtorch_cpu.so'))
    cache = os.environ.get('PIP_CACHE_DIR') or os.path.expanduser('~/.cache/pip')
    for path, gigabytes in (
        (nearest_folder(target), 1 if big else ENVIRONMENT_GB),
        (nearest_folder(cache), 0 if big else DOWNLOAD_GB),
        (nearest_folder(os.environ.get('TMPDIR', '/tmp')), 0.5 if big else DOWNLOAD_GB),
    ):
        place, sofar = need.get(path.stat().st_dev, (path, 0))
        need[path.stat().st_dev] = (place, sofar + gigabytes)
    findings = []
    for path, gigabytes in need.values():
        if free(path) < gigabytes * 1e9:
            problem = '{:.1f} GB free under {}, {:.1f} GB needed'.format(
                free(path) / 1e9, path, gigabytes
            )
            remedy = 'MMTLALIGN_VENV=/other/disk/mmtlalign TMPDIR=/other/disk/tmp '
            remedy += 'PIP_CACHE_DIR=/other/disk/pip bash tools/setup_env.sh'
            findings.append(Finding(problem, remedy))
    return findings


def check_hosts():
    """Host versions, and both stacks mixed in this environment."""
    sys.path.insert(0, str(ROOT))
    try:
        import mmtlalign  # noqa: F401
    except ImportError as error:
        return [Finding(str(error), 'bash tools/setup_env.sh')]
    return []


def pin(distribution, stack):
    """The pinned requirement of a distribution, by its classic or its own name."""
    onedl = {'mmdet': 'onedl-mmdetection'}.get(distribution, 'onedl-' + distribution)
    for name in (stack, 'common', 'test'):
        file = ROOT / 'requirements' / (name + '.txt')
        for line in file.read_text(encoding='utf-8').splitlines():
            if line.split('==')[0] in (distribution, onedl):
                return line.split(';')[0].strip()
    raise KeyError(
        '{} is not pinned in requirements/{}.txt'.format(distribution, stack)
    )


def check_imports(stack, tests=False):
    """An environment of the user's own must import what a set-up installs."""
    wanted = dict(IMPORTS, **(TEST_IMPORTS if tests else {}))
    missing = [d for m, d in wanted.items() if importlib.util.find_spec(m) is None]
    if missing:
        install = sys.executable + ' -m pip install --no-build-isolation '
        # mmcv is compiled against the torch that is there by then.
        pins = [pin(d, stack) for d in missing if d != 'mmcv']
        lines = [install + ' '.join(pins)] if pins else []
        lines += [install + pin('mmcv', stack)] if 'mmcv' in missing else []
        problem = '{} lacks {}'.format(sys.executable, ', '.join(missing))
        return [Finding(problem, ' && '.join(lines))]
    # The compiled operators fail where mmcv-lite is installed, where mmcv was
    # compiled against another torch, and where a library of OpenCV is missing.
    command = [sys.executable, '-c', 'import mmcv.ops']
    result = subprocess.run(command, stderr=subprocess.PIPE, universal_newlines=True)
    if result.returncode == 0:
        return []
    return [
        Finding(
            'mmcv.ops cannot be imported: ' + result.stderr.strip().split('\n')[-1],
            '{} -m pip install --no-build-isolation --no-cache-dir --force-reinstall '
            '--no-deps {}'.format(sys.executable, pin('mmcv', stack)),
        )
    ]


def remove_half_installed(site):
    """Forget distributions whose installation was interrupted.

    pip writes INSTALLER after the files; without it the distribution may lack
    files, and yet pip would take it as installed.

    Args:
        site: a site-packages folder.

    Returns:
        list[str]: what was removed.
    """
    leftovers = [p for p in Path(site).glob('*.dist-info') if not _finished(p)]
    leftovers += Path(site).glob('~*')
    for path in leftovers:
        shutil.rmtree(str(path)) if path.is_dir() else path.unlink()
    return [path.name for path in leftovers]


def _finished(dist_info):
    return (dist_info / 'INSTALLER').exists() and (dist_info / 'RECORD').exists()


def report(findings):
    """Print findings and their remedies; the exit code."""
    for finding in findings:
        print('  problem: ' + finding.problem, file=sys.stderr)
        print('  mend it: ' + finding.remedy, file=sys.stderr)
    return 1 if findings else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    what = ['interpreter', 'machine', 'hosts', 'foreign', 'repair']
    parser.add_argument('what', choices=what)
    parser.add_argument('--stack', choices=sorted(PYTHONS), default='onedl')
    parser.add_argument('--target', default=str(ROOT / '.venv'))
    parser.add_argument('--tests', action='store_true', help='foreign: pytest too')
    args = parser.parse_args()
    if args.what == 'repair':
        for name in remove_half_installed(sysconfig.get_paths()['purelib']):
            print('  half installed before, to be installed again: ' + name)
        return 0
    interpreter = check_python(args.stack) or check_headers() + check_venv()
    if args.what == 'interpreter':
        findings = interpreter
    elif args.what == 'machine':
        findings = interpreter + check_compiler() + check_opencv_libraries()
        findings += check_cuda_compiler(args.stack) + check_disk(args.target)
    elif args.what == 'hosts':
        findings = check_hosts()
    else:
        findings = check_hosts() or check_imports(args.stack, args.tests)
    return report(findings)


if __name__ == '__main__':
    sys.exit(main())
