"""Reconstructions without training: the rows that every learned method has to beat."""
