"""Check before a set-up for what would fail late, and print how to repair it.

It uses the standard library only, in syntax that Python 3.5 can parse, because it runs
before anything is installed. `tools/setup_env.sh` calls it. The versions of the hosts
are in mmtlalign/compat/hosts.py, which is imported once Python is new enough.
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

# First and last Python that the pins of a stack can be installed on, and the oldest
# that this package runs on.
PYTHONS = {'onedl': ((3, 10), (3, 13)), 'classic': ((3, 11), (3, 11))}
OLDEST_PYTHON = (3, 10)

# CUDA that the pinned torch was built with; another major version is refused.
CUDA_MAJOR = {'onedl': 13, 'classic': 12}

# GB, measured on Linux x86-64 (torch brings NVIDIA's libraries): size of the
# environment, and of pip's cache and temporary folder.
ENVIRONMENT_GB = 6.5
DOWNLOAD_GB = 2.5

# The packages that contain each library that OpenCV loads, by package manager.
OPENCV_LIBRARIES = {
    'libGL.so.1': {'apt_get': 'libgl1', 'dnf': 'mesa-libGL'},
    'libgthread-2.0.so.0': {'apt_get': 'libglib2.0-0', 'dnf': 'glib2'},
}

# What an environment of the user's own must be able to import besides the hosts, and
# the distribution that contains it.
IMPORTS = {
    'torch': 'torch',
    'torchvision': 'torchvision',
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
INSTALL = sys.executable + ' -m pip install '


def main() -> int:
    """Run the checks that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = ['interpreter', 'machine', 'hosts', 'foreign', 'repair', 'kernels']
    parser.add_argument('what', choices=what)
    parser.add_argument('--stack', choices=sorted(PYTHONS), default='onedl')
    parser.add_argument('--target', default=str(ROOT / '.venv'))
    parser.add_argument(
        '--tests',
        action='store_true',
        help='for "foreign": check the packages that tests need too',
    )
    parser.add_argument(
        '--compile-mmcv',
        action='store_true',
        help='for "machine": check the compilers too',
    )
    args = parser.parse_args()
    if args.what == 'repair':
        for name in remove_half_installed(sysconfig.get_paths()['purelib']):
            print('  only partly installed, to be installed again: ' + name)
        return 0
    if args.what == 'kernels':
        print('label shares are computed by ' + describe_share_kernel())
        return 0
    if args.what == 'hosts':
        return report(check_hosts())
    if args.what == 'foreign':
        return report(check_hosts() or check_imports(args.stack, args.tests))
    findings = check_python(args.stack) or check_venv()
    if args.what == 'machine':
        findings += check_opencv_libraries() + check_disk(args.target)
        if args.compile_mmcv:
            findings += check_headers() + check_compiler()
            findings += check_cuda_compiler(args.stack)
    return report(findings)


def report(findings: list) -> int:
    """Print findings and their remedies; return the exit code."""
    for finding in findings:
        print('  problem: ' + finding.problem, file=sys.stderr)
        print('  remedy: ' + finding.remedy, file=sys.stderr)
    return 1 if findings else 0


def to_install(problem: str, **packages: str) -> list:
    """Return a finding whose remedy is to install packages, see `install_line`."""
    return [Finding(problem, install_line(**packages))]


def install_line(**packages: str) -> str:
    """Return the command that installs system packages on this machine.

    Args:
        **packages: Package name by package manager, `apt_get=` and `dnf=`.
    """
    for manager in ('apt-get', 'dnf'):
        if shutil.which(manager):
            sudo = '' if os.geteuid() == 0 else 'sudo '
            names = packages[manager.replace('-', '_')]
            return '{}{} install -y {}'.format(sudo, manager, names)
    names = packages['apt_get']
    return 'install {} with the package manager of this system'.format(names)


def check_python(stack: str, version: tuple = sys.version_info[:2]) -> list:
    """Check that the pins of a stack exist for this Python."""
    first, last = PYTHONS[stack]
    if first <= tuple(version) <= last:
        return []
    needed = 'Python {}.{}'.format(*first)
    if first != last:
        needed += ' to {}.{}'.format(*last)
    problem = 'Python {}.{} does not fit: the {} stack needs {}'.format(
        version[0], version[1], stack, needed
    )
    # the one that all tests run on
    name = 'python3.11'
    return to_install(
        problem,
        apt_get='{0} {0}-venv'.format(name),
        dnf=name,
    )


def check_headers(include: str = sysconfig.get_paths()['include']) -> list:
    """Check that Python's headers are installed, for mmcv."""
    if (Path(include) / 'Python.h').exists():
        return []
    name = 'python{}.{}'.format(*sys.version_info[:2])
    problem = 'no Python.h in {}, which mmcv is compiled against'.format(include)
    return to_install(problem, apt_get=name + '-dev', dnf=name + '-devel')


def check_venv() -> list:
    """Check that Python can make virtual environments."""
    if importlib.util.find_spec('venv') and importlib.util.find_spec('ensurepip'):
        return []
    name = 'python{}.{}'.format(*sys.version_info[:2])
    problem = 'this Python has no module ensurepip, which makes environments'
    return to_install(problem, apt_get=name + '-venv', dnf=name)


def check_compiler() -> list:
    """Check that there is a C++ compiler, for mmcv."""
    if any(shutil.which(c) for c in (os.environ.get('CXX'), 'c++', 'g++') if c):
        return []
    problem = 'no C++ compiler (c++ or g++), which mmcv is compiled with'
    return to_install(problem, apt_get='g++', dnf='gcc-c++')


def check_opencv_libraries(libraries: dict = OPENCV_LIBRARIES) -> list:
    """Check the system libraries that OpenCV loads and that a minimal system lacks."""
    missing = []
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(library)
    if not missing:
        return []
    return to_install(
        'OpenCV needs {}, not found'.format(' and '.join(missing)),
        apt_get=' '.join(libraries[m]['apt_get'] for m in missing),
        dnf=' '.join(libraries[m]['dnf'] for m in missing),
    )


def check_cuda_compiler(
    stack: str, gpu: bool = Path('/dev/nvidiactl').exists()
) -> list:
    """Check that there is the nvcc that mmcv's CUDA operators are compiled with.

    Args:
        stack: The stack, whose torch was built with the CUDA of `CUDA_MAJOR`.
        gpu: Whether there is a GPU; without one nothing is needed.
    """
    if not gpu or os.environ.get('CUDA_VISIBLE_DEVICES') == '':
        return []
    homes = [os.environ.get('CUDA_HOME'), os.environ.get('CUDA_PATH')]
    places = [os.path.join(h, 'bin') for h in homes + ['/usr/local/cuda'] if h]
    nvcc = next(filter(None, (shutil.which('nvcc', path=p) for p in places)), None)
    nvcc = nvcc or shutil.which('nvcc')
    problem = 'an NVIDIA GPU, but no nvcc'
    if nvcc:
        output = subprocess.run([nvcc, '--version'], stdout=subprocess.PIPE).stdout
        release = re.search(r'release (\d+)', output.decode(errors='replace'))
        if not release or int(release.group(1)) == CUDA_MAJOR[stack]:
            return []
        problem = '{} is of CUDA {}'.format(nvcc, release.group(1))
    return [
        Finding(
            '{}: the CUDA operators of mmcv need nvcc of CUDA {}'.format(
                problem, CUDA_MAJOR[stack]
            ),
            'bash tools/setup_env.sh {}  (nothing is compiled then; or install that '
            'CUDA toolkit and set CUDA_HOME)'.format(stack),
        )
    ]


def check_disk(
    target: str, free=lambda path: shutil.disk_usage(str(path)).free
) -> list:
    """Check the free space: torch with NVIDIA's libraries is big, and pip doubles it.

    Args:
        target: Folder of the environment, which need not exist yet.
        free: Function that returns the free bytes of the file system of a folder.
    """
    has_torch = any(
        Path(target).glob('lib/python*/site-packages/torch/lib/libtorch_cpu.so')
    )
    cache = os.environ.get('PIP_CACHE_DIR') or os.path.expanduser('~/.cache/pip')
    needed = {}
    for folder, gigabytes in (
        (target, 1 if has_torch else ENVIRONMENT_GB),
        (cache, 0 if has_torch else DOWNLOAD_GB),
        (os.environ.get('TMPDIR', '/tmp'), 0.5 if has_torch else DOWNLOAD_GB),
    ):
        folder = Path(folder).absolute()
        folder = next(p for p in [folder] + list(folder.parents) if p.exists())
        place, so_far = needed.get(folder.stat().st_dev, (folder, 0))
        needed[folder.stat().st_dev] = (place, so_far + gigabytes)
    return [
        Finding(
            '{:.1f} GB free under {}, {:.1f} GB needed'.format(
                free(folder) / 1e9, folder, gigabytes
            ),
            'MMTLALIGN_VENV=/other/disk/mmtlalign TMPDIR=/other/disk/tmp '
            'PIP_CACHE_DIR=/other/disk/pip bash tools/setup_env.sh',
        )
        for folder, gigabytes in needed.values()
        if free(folder) < gigabytes * 1e9
    ]


def check_hosts() -> list:
    """Check host versions, and that both stacks are not mixed in this environment."""
    if sys.version_info < OLDEST_PYTHON:
        problem = '{} is Python {}.{}, but {}.{} or newer is needed'.format(
            sys.executable, *(sys.version_info[:2] + OLDEST_PYTHON)
        )
        return [Finding(problem, 'set MMTLALIGN_PYTHON to a newer Python')]
    sys.path.insert(0, str(ROOT))
    try:
        import mmtlalign  # noqa: F401
    except ImportError as error:
        return [Finding(str(error), 'bash tools/setup_env.sh')]
    return []


def describe_share_kernel() -> str:
    """Describe by which kernel shares move in half precision on this machine."""
    sys.path.insert(0, str(ROOT))
    import torch

    from mmtlalign.tracing.kernels.gpu import describe_way

    return describe_way(torch.device('cuda' if torch.cuda.is_available() else 'cpu'))


def imports_of(stack: str, tests: bool = False) -> dict:
    """Return what an environment must be able to import: module to distribution.

    Args:
        stack: The stack of the distributions.
        tests: Whether the tests are to run there.
    """
    from mmtlalign.compat.hosts import DISTRIBUTIONS

    hosts = {name: owners[0] for name, owners in DISTRIBUTIONS[stack].items()}
    return dict(IMPORTS, **hosts, **(TEST_IMPORTS if tests else {}))


def check_imports(stack: str, tests: bool = False) -> list:
    """Check that an environment of the user's own has all that a set-up installs."""
    pins = {m: pin(d, stack) for m, d in imports_of(stack, tests).items()}
    missing = [module for module in pins if importlib.util.find_spec(module) is None]
    if missing:
        problem = '{} lacks {}'.format(sys.executable, ', '.join(missing))
        remedy = INSTALL + ' '.join(pins[module] for module in missing)
        return [Finding(problem, remedy)]
    # Fails where mmcv was compiled against another torch, and where a library of
    # OpenCV is missing.
    command = [sys.executable, '-c', 'import mmtlalign, mmcv.ops']
    result = subprocess.run(
        command, stderr=subprocess.PIPE, universal_newlines=True, cwd=str(ROOT)
    )
    if result.returncode == 0:
        return []
    return [
        Finding(
            'mmcv.ops cannot be imported: ' + result.stderr.strip().split('\n')[-1],
            INSTALL + '--no-cache-dir --force-reinstall --no-deps ' + pins['mmcv'],
        )
    ]


def pin(distribution: str, stack: str) -> str:
    """Return the pinned requirement of a distribution, such as `timm==1.0.31`."""
    for name in (stack, 'common', 'test'):
        file = ROOT / 'requirements' / (name + '.txt')
        for line in file.read_text(encoding='utf-8').splitlines():
            if line.split('==')[0] == distribution:
                return line.split(';')[0].strip()
    raise KeyError('{} is not pinned in requirements/'.format(distribution))


def remove_half_installed(site: str) -> list:
    """Remove the metadata of distributions whose installation was interrupted.

    pip writes INSTALLER after the files; without it the distribution may lack files,
    but pip would treat it as installed.

    Args:
        site: A site-packages folder.

    Returns:
        The names of what was removed.
    """
    leftovers = list(Path(site).glob('~*'))
    for info in Path(site).glob('*.dist-info'):
        if not ((info / 'INSTALLER').exists() and (info / 'RECORD').exists()):
            leftovers.append(info)
    for path in leftovers:
        shutil.rmtree(str(path)) if path.is_dir() else path.unlink()
    return [path.name for path in leftovers]


if __name__ == '__main__':
    sys.exit(main())
