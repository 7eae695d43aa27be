"""Comparisons and runs as tables, figures, cards and pages; reads run folders and nothing else."""
