"""Tests that run in every environment: beside PML 2.9, without it, and beside PML 3."""
