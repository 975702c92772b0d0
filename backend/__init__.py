"""The product's API: stages files, keeps jobs, speaks text, and has a GPU host render."""
