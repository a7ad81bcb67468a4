"""instil: instruction-tune a pre-trained language model, and show by experiment how much it helps."""
