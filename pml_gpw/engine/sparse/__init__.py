"""The sparse program of a CPU: only the pairs that mining may keep.

Half of the product finds the pairs of a batch with itself, and few pairs need few products. Whoever
reads the engine for an accelerator needs nothing of this folder.
"""
