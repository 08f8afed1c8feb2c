"""What mmcv says of its compiled operators in the report on an environment."""


def get_compiler_version() -> str:
    """Return what stands in the place of the compiler."""
    return 'not compiled (mmtlalign: torchvision and PyTorch)'


def get_compiling_cuda_version() -> str:
    """Return what stands in the place of the CUDA version."""
    return 'not compiled'
