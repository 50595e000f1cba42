"""The scripts that make the tables and figures; see ``benchmarks/README.md`` for the rules."""
