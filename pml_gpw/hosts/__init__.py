"""This package's objects as those of a host library, one folder a host."""
