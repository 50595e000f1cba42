"""The scripts that make the tables and figures; see ``benchmarks/README.md`` for the rules."""

import os

# PML draws a bar per epoch and per evaluation; the scripts show one bar for the whole work
# instead. tqdm reads this once, when it is first imported.
os.environ.setdefault("TQDM_DISABLE", "1")
