"""Datalists: their form, tags, and the checks of entries and files."""

from monai_ext.datalist.checks import DataError, check_datalist, check_items, require_valid
from monai_ext.datalist.datalist import items, read_datalist, write_datalist

__all__ = [
    "DataError",
    "check_datalist",
    "check_items",
    "items",
    "read_datalist",
    "require_valid",
    "write_datalist",
]
