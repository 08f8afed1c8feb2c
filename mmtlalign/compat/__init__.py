"""What differs between versions of the hosts and of PyTorch."""
