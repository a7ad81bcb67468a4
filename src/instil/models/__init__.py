"""Models: weights and tokenizers read from folders or the hub, one file an architecture, generation and scoring.

loading -> causal (logits at answers alone)    engine (batched generation, log-likelihoods)    linear (products)
"""
