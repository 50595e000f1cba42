"""What makes this package's objects those of a host library, one folder a host."""
