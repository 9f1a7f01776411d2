"""glm3-nano: the corpus, the tokenizer and the training of the model that ships with glmd.

`python -m glmd.compiler.nano --help` lists the steps. Only `model`, `train` and `evaluate` need
torch; the corpus, the tokenizer and the model folder are made without it.
"""
