"""This package in the trainers of others, one file a library.

Each file needs its library, and says how to install it where it is missing.
"""
