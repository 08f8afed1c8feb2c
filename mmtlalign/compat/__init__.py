"""Code for differences between versions of the hosts and of PyTorch."""
