"""Networks that no host library has. One network, one file."""

from mmtlalign.backbones.dhvt import DHVT

__all__ = ['DHVT']
