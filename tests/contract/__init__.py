"""CONTRACT.md, row by row, through real HTTP on both databases."""
