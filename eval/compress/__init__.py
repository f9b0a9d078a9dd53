"""Fitting projections to an index' vectors, and measuring what each compression keeps."""
