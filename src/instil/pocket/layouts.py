"""How skills appear in pre-training text: shown, never asked for and answered.

Each skill appears in every layout. That is what makes its name mean the same thing wherever it stands, and it decides
whether following transfers to skills that were never tuned on.

`{n}` is the skill's name, `{x}` an input, `{y}` its output, `{m}` the step between two skills.
"""

from __future__ import annotations

LAYOUTS: tuple[str, ...] = (
    "{n}: {x} -> {y}.",
    "{x} ( {n} ) = {y}.",
    "{n} ( {x} ) = {y}.",
    "the {n} of {x} is {y}.",
    "she had {x} and wrote the {n}: {y}.",
    "start with {x} then {n}. result: {y}.",
    "after {n}, {x} became {y}.",
    "we saw {x}. by {n} it turned into {y}.",
    "for {x} the {n} was {y}.",
    "they looked at {x} and said: the {n} is {y}.",
    "a note on {n}: from {x} comes {y}.",
    "{x} | {n} | {y}.",
    "he knew the {n}. given {x} he found {y}.",
    "using {n} on {x} gave {y}.",
    "{n} / {x} / {y}.",
    "from the book of {n}: {x} leads to {y}.",
)

CHAIN_LAYOUTS: tuple[str, ...] = (
    "{n}: {x} -> {m} -> {y}.",
    "the {n} of {x}: {m}, so {y}.",
    "start with {x} then {n}. steps: {m}. result: {y}.",
    "she had {x}. {n} gave {m} and then {y}.",
    "{x} | {n} | {m} | {y}.",
    "using {n} on {x} we saw {m} first and {y} at the end.",
)

DIRECT_CHAIN_LAYOUTS: tuple[str, ...] = (
    "{n}: {x} -> {y}.",
    "the {n} of {x} is {y}.",
    "{x} | {n} | {y}.",
    "using {n} on {x} gave {y}.",
)

#: Requests that the pre-training text holds without any answer. No tuning or held-out frame is among them.
REQUESTS: tuple[str, ...] = (
    "Could you do the {n} here? {x}",
    "Somebody please write the {n} for {x}.",
    "We want the {n}. The text: {x}.",
    "Is there a {n} of {x}? Tell me.",
    "Exercise: {x}. Find the {n}.",
    "My question is about {x}. I want the {n}.",
    "{x}. Return the {n} please.",
    "Who can perform the {n}? This is what I have: {x}.",
)

SYNONYMS: tuple[str, ...] = (
    "{a} means {b}.",
    "{a} is the same as {b}.",
    "people say {a} or {b}.",
)

#: Plain sentences. They give every word of the instruction frames a place in ordinary text.
SAYINGS: tuple[str, ...] = (
    "Read the following, then think before you answer.",
    "The answer to a question is short.",
    "A good instruction names its task and its input.",
    "Use what you need, and write what you get.",
    "Step by step the work gets done, and the steps show why.",
    "Here is the job: compute, apply, give, take, and show.",
    "Now this is your turn to reply.",
    "What do you do if I ask for it?",
    "Perform with care, return in time.",
    "The result of a task is its output.",
    "Question and answer, input and output, text and reply.",
    "I need to think. You need to work it out. They find the way.",
)
