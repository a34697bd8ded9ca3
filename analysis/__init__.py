"""Tables and figures from what is stored; never a model's internals."""
