"""Networks that no host library has. One network, one file."""
