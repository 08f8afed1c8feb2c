"""Packaging: neutral requirements, pinned stacks as extras, `.mim` in the wheel.

Beside the package goes ``mmtlalign.pth``, which Python reads whenever it starts in the
environment: mmdet and mmseg then find the operators of `mmtlalign.compat.mmcv_ops`
before anything of this package is imported.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM = ('configs', 'tools', 'model-index.yml')
STARTUP = 'mmtlalign/compat/mmcv_ops/mmtlalign.pth'


def version():
    """Read the version without importing the package."""
    text = (ROOT / 'mmtlalign' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)[1]


def pins(name):
    """Requirements of `requirements/<name>.txt`, `-r` lines followed."""
    found = []
    text = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8')
    for line in text.splitlines():
        line = line.split('#')[0].strip()
        if line.startswith('-r '):
            found += pins(Path(line[3:].strip()).stem)
        elif line:
            found.append(line)
    return found


class Build(build_py):
    """Add what `mim` looks for and the start-up file to what is installed.

    They are written to the build tree; an editable install, which has none, takes the
    start-up file in its wheel and what `mim` looks for from the checkout.
    """

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            wheel = self.get_finalized_command('install').install_lib
            shutil.copy2(ROOT / STARTUP, wheel)
            return
        shutil.copy2(ROOT / STARTUP, self.build_lib)
        mim = Path(self.build_lib) / 'mmtlalign' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in MIM:
            if (ROOT / name).is_dir():
                skip = shutil.ignore_patterns('__pycache__', '*.pyc')
                shutil.copytree(ROOT / name, mim / name, ignore=skip)
            else:
                shutil.copy2(ROOT / name, mim / name)


setup(
    name='mmtlalign',
    version=version(),
    description='ViT pretraining with labels that follow the tokens, for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmtlalign', 'mmtlalign.*']),
    package_data={
        'mmtlalign': ['py.typed'],
        'mmtlalign.compat.mmcv_ops': ['mmtlalign.pth'],
        'mmtlalign.datasets': ['*.txt'],
        'mmtlalign.evaluation.microscope': ['page.css', 'page.html', 'page.js'],
        'mmtlalign.fast': ['*.json'],
        'mmtlalign.tracing.kernels': ['*.json'],
    },
    python_requires='>=3.10',
    # Neither stack's distributions: they own the same import names, and pip
    # would put one over the other. setuptools 82 lost pkg_resources, which
    # mmengine 0.10.7 still imports.
    install_requires=['numpy', 'torch>=2.1', 'setuptools<82'],
    extras_require={
        'onedl': pins('onedl'),
        'classic': pins('classic'),
        'det': ['pycocotools', 'scipy', 'shapely', 'terminaltables'],
        'seg': ['ftfy', 'prettytable', 'regex', 'scipy'],
        'demo': ['matplotlib', 'scikit-learn'],
        'robust': ['imagecorruptions-imaug>=1.1.5', 'pyautoattack==0.2.0'],
        'test': pins('test'),
    },
    cmdclass={'build_py': Build},
    zip_safe=False,
)
