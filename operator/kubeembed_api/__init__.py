"""The EmbeddingModel document as typed values, and the words that the rooms agree on.

Knows nobody: operator, weights and runtime import it, it imports none of them.
"""
