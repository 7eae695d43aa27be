"""From items.parquet (texts, image paths) to stores of vectors: encoders and a resumable pipeline."""
