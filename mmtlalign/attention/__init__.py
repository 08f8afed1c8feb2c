"""Attention by the kernel that is fastest for the case, with the same numbers."""

from .kernels import attend, choose_kernel

__all__ = ['attend', 'choose_kernel']
