"""Host-specific code for tracing, imported with the first backbone of a host."""
