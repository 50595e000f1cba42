"""Numbers as tables show them."""

from typing import Any

import pandas as pd


def number(value: Any) -> str:
    """Three digits, or nothing where there is no figure."""
    if value is None or pd.isna(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
