"""Check data sets in the layout of the configs, and make them from archives."""

from tools.dataset_converters.prepare.coco import COCO
from tools.dataset_converters.prepare.domainnet import DOMAINNET
from tools.dataset_converters.prepare.fine_grained import FLOWERS102, STANFORD_CARS
from tools.dataset_converters.prepare.imagenet import IMAGENET, IMAGENETTE
from tools.dataset_converters.prepare.robustness import (
    CIFAR10_C,
    IMAGENET_A,
    IMAGENET_C,
    IMAGENET_O,
    IMAGENET_R,
    IMAGENET_REAL,
    IMAGENET_SKETCH,
    IMAGENET_V2,
)
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
    'imagenet-c': IMAGENET_C,
    'imagenet-a': IMAGENET_A,
    'imagenet-r': IMAGENET_R,
    'imagenet-o': IMAGENET_O,
    'imagenet-sketch': IMAGENET_SKETCH,
    'imagenetv2': IMAGENET_V2,
    'imagenet-real': IMAGENET_REAL,
    'cifar10-c': CIFAR10_C,
}
