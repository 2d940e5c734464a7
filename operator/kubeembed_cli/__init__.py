"""`kubeembed`, also `kubectl embed`: why a model does not serve, what it makes of texts, and more.

A client on a person's machine. It knows the document and what a cluster shows of it, nothing of the operator.
"""
