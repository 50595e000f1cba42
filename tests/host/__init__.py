"""What subpackages together promise to users of pytorch-metric-learning (PML), on real objects.

Here lie whole trainings in PML's trainers, PML's wrappers around our objects, defects of PML that
must not be met through us, and random batches against PML's pair of miner and loss. What one file
of the package promises is tested in ``tests/<folder>/test_<file>.py``.
"""
