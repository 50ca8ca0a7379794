"""Compiled loops over batches of text. Numba is imported by the modules of this folder and nowhere else."""
