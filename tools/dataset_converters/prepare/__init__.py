"""Data sets in the layout that the configs expect: checked, and made from archives."""

from tools.dataset_converters.prepare.coco import COCO
from tools.dataset_converters.prepare.domainnet import DOMAINNET
from tools.dataset_converters.prepare.fine_grained import FLOWERS102, STANFORD_CARS
from tools.dataset_converters.prepare.imagenet import IMAGENET, IMAGENETTE
from tools.dataset_converters.prepare.segmentation import (
    ADE20K,
    CAMVID,
    PASCAL_CONTEXT,
)
from tools.dataset_converters.prepare.small_images import (
    CIFAR10,
    CIFAR100,
    FASHION_MNIST,
)

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
