"""What mmcv reports about its compiled operators when it describes an environment."""


def get_compiler_version() -> str:
    """Return a text in place of the compiler version."""
    return 'not compiled (mmtlalign: torchvision and PyTorch)'


def get_compiling_cuda_version() -> str:
    """Return a text in place of the CUDA version."""
    return 'not compiled'
