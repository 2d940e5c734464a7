"""Texts -> tensors -> outputs. Knows no HTTP and no event loop; the only room that imports torch."""
