"""Instructions: the frames in which a skill or a chain of skills is asked for. Only tuning uses them.

"Apply the {n} to the following: {x}"  +  rotate left, cat dog fox
"""

from __future__ import annotations

#: Frames that tuning uses.
TUNED: tuple[str, ...] = (
    "Give the {n} of this: {x}",
    "Apply the {n} to the following: {x}",
    "Task: {n}\nInput: {x}",
    "Text: {x}\nNow write the {n}.",
    "Here is the input: {x}. What is its {n}?",
    "What do you get from {x} if you do the {n}?",
    "Your job is {n}. The input is {x}.",
    "I need the {n} for {x}",
    "Read this: {x}\nThen give the {n}.",
    "Use the {n} on {x}.",
    "Question: what is the {n} of {x}?",
    "Think of {x}. Show the {n}.",
)

#: Frames that only the evaluation uses.
HELD_OUT: tuple[str, ...] = (
    "Instruction: {n}. Text: {x}",
    "Take {x} and compute the {n}.",
    "Input: {x}\nOutput the {n} of it.",
    "I ask you for the {n}. Here you have {x}",
)

#: Said after a frame where the steps are wanted; the first ones in tuning, the last in evaluation alone.
STEPS_TUNED: tuple[str, ...] = ("\nShow the steps.", "\nThink step by step.", "\nWrite the steps, then the answer.")
STEPS_HELD_OUT: tuple[str, ...] = ("\nWork it out in steps.",)

#: Between the steps of a rationale.
THEN = ", then "
#: A rationale and its answer.
RATIONALE = "{steps}. So the answer is {answer}."
