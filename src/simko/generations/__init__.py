"""Generations that someone already has: rows in JSONL, CSV or Parquet, and the logs of other packages."""

from simko.generations.flat import ROLES
from simko.generations.read import GeneratedSet, Generations, read_rows
from simko.generations.rows import UNKNOWN, Response, Row

__all__ = ["ROLES", "UNKNOWN", "GeneratedSet", "Generations", "Response", "Row", "read_rows"]
