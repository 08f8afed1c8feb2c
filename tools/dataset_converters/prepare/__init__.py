"""Data sets in the layout that the configs expect: checked, built, fetched.

One data set, one file, with its table of published facts.
"""

from tools.dataset_converters.prepare.ade20k import ADE20K
from tools.dataset_converters.prepare.camvid import CAMVID
from tools.dataset_converters.prepare.cifar import CIFAR10, CIFAR100
from tools.dataset_converters.prepare.coco import COCO
from tools.dataset_converters.prepare.domainnet import DOMAINNET
from tools.dataset_converters.prepare.fashion_mnist import FASHION_MNIST
from tools.dataset_converters.prepare.flowers102 import FLOWERS102
from tools.dataset_converters.prepare.imagenet import IMAGENET, IMAGENETTE
from tools.dataset_converters.prepare.pascal_context import PASCAL_CONTEXT
from tools.dataset_converters.prepare.stanford_cars import STANFORD_CARS

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
