"""A BEIR-format folder and an endpoint -> how well its vectors retrieve, in the measures of trec_eval.

A client like any other: it knows the contracts' paths and bodies, and nothing of the server or the model.
"""
