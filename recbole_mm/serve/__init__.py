"""What a trained model is for: lists for people, similar items, the parts of a score, files for other programs."""
