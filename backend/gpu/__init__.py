"""The client of the GPU hosts."""
