"""The embedded default: a small world of skills, its tasks, its tokenizer, its base models and the quickstart.

    lexicon -> skills -> chains     what can be asked
    layouts -> documents            what the base reads (never an instruction with its answer)
    frames  -> split -> suite       what is tuned on, and what is held out, five ways
    bases, quickstart               the weights, and the five minutes that show what tuning does

Everything is generated from keyed seeds; nothing is downloaded.
"""
