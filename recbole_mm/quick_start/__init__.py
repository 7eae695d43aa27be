"""quick_start."""
