"""Which values are equal: one table (compare), and the rules it names."""
