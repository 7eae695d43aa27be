"""What a run is, as values and as a folder; knows no torch."""
