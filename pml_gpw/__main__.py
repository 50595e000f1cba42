"""Commands of pml_gpw; --help after each says more.

python -m pml_gpw.datasets verify     compare the files of a data set with what was published
python -m pml_gpw.datasets download   fetch a data set
python -m benchmarks                  list the commands that made the tables, in a checkout
"""

if __name__ == "__main__":
    print(__doc__)
