"""Mixtures: tasks with weights, read at any index as prompts, turned into token ids and packed.

spec.py      what a recipe says under `mixture:`
settings.py  zero-shot, few-shot-3, zero-shot-cot, ...
weights.py   how much of the mixture each task is
shares.py    which task the i-th prompt is of
compose.py   one prompt from one example, with exemplars
mixture.py   mixture[i]
load.py      recipe -> mixture
held_out.py  tasks, clusters and their siblings that are kept out; random subsets
filters.py   tasks by licence and language
questions.py what a test item asks in words of its own
written.py   what a row trains on, as texts
leaks.py     which items stand in a text; leaky.py: in which rows
decontaminated.py  tasks without those rows
boundary.py  the line between what is read and what is written, for every tokenizer
encode.py    prompt -> token ids, and which of them are trained on
packing.py   encoded prompts -> rectangles
tokenizer.py the tokenizer of a model folder, without the model
showing.py   rows for a person or a program to look at
sources.py   one source of a recipe, opened
rankings.py  rankings of completions by side; ranking_reading.py, ranking_rows.py: from files and rows to them
ranking_split.py  sides by prompt and by annotator
agreement.py how far annotators agree
"""
