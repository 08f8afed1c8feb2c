"""Data sets in the layout that the configs expect: checked, built, fetched.

One data set, one file, with its table of published facts.
"""

from mmtlalign.datasets.prepare.ade20k import ADE20K
from mmtlalign.datasets.prepare.camvid import CAMVID
from mmtlalign.datasets.prepare.cifar import CIFAR10, CIFAR100
from mmtlalign.datasets.prepare.coco import COCO
from mmtlalign.datasets.prepare.domainnet import DOMAINNET
from mmtlalign.datasets.prepare.fashion_mnist import FASHION_MNIST
from mmtlalign.datasets.prepare.flowers102 import FLOWERS102
from mmtlalign.datasets.prepare.imagenet import IMAGENET, IMAGENETTE
from mmtlalign.datasets.prepare.pascal_context import PASCAL_CONTEXT
from mmtlalign.datasets.prepare.stanford_cars import STANFORD_CARS

__all__ = ['DATA_SETS']

DATA_SETS = {
    'imagenet': IMAGENET,
    'imagenette': IMAGENETTE,
    'ade20k': ADE20K,
    'camvid': CAMVID,
    'pascal-context': PASCAL_CONTEXT,
    'coco': COCO,
    'cifar10': CIFAR10,
    'cifar100': CIFAR100,
    'fashion-mnist': FASHION_MNIST,
    'flowers102': FLOWERS102,
    'stanford-cars': STANFORD_CARS,
    'domainnet': DOMAINNET,
}
