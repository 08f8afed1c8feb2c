"""What concerns the hosts and their versions: configs, files, wrappers, old names."""
