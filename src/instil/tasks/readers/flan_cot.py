r"""FLAN's chain-of-thought sets: a TSV of question, answer, rationale, without header and without quoting.

    "Marlboro ..."\nIs the above claim true?\nOptions:\n- yes\n- no <tab> yes <tab> Marlboro is used ...

    direct   Q: "Marlboro used ..." Is the above claim true? Options: ...  ->  yes
    cot      ... Let's think step by step.  ->  Marlboro is used cowboys as an advertisement. So the answer is yes.

Newlines are written as the two characters `\n`. Quotes are plain characters (975 rows of creak lose theirs to a CSV
reader), and U+2028 stands inside two rows of gsm8k, so lines end at `\n` alone.

The options stay in `question`, as FLAN shows them; where the answer is one of them they are also the options of the
direct templates, for rank classification. Where a file lists options, further templates ask the `bare_question`, so
that a setting can hide the options or list them in another style: `(C)` is then answered by its text, `choice`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from instil.records import Example
from instil.tasks.readers.phrasing import direct, inverse, reasoned
from instil.tasks.readers.query_wellformedness import is_rated
from instil.tasks.readers.reading import Declared, Reading, RowProblem
from instil.tasks.readers.source import Damage, Source
from instil.tasks.task import Task
from instil.tasks.template import Template


def _direct(name: str, shown: str) -> Template:
    return Template(name, shown, "{{ answer }}", answer_choices="{{ options | join('|||') }}")


def _cot(name: str, shown: str, target: str) -> Template:
    return Template(name, shown, target, cot=True, answer="{{ answer }}", rationale="{{ rationale }}")


#: The two kinds of templates never share an input: what the model reads says whether it is to reason first.
TEMPLATES = (
    _direct("direct-plain", "{{ question }}"),
    _direct("direct-qa", "Q: {{ question }}\nA:"),
    _direct("direct-question-answer", "Question: {{ question }}\nAnswer:"),
    _direct("direct-only-the-answer", "Answer the following question. Give only the answer.\n{{ question }}"),
    _direct("direct-final", "{{ question }}\nWhat is the final answer?"),
    _direct("direct-short", "Please answer this as briefly as you can: {{ question }}"),
    _cot(
        "cot-step-by-step",
        "{{ question }}\nLet's think step by step.",
        "{{ rationale | sentence }} So the answer is {{ answer }}.",
    ),
    _cot(
        "cot-reason-first",
        "Answer the following question by reasoning step by step.\n{{ question }}",
        "{{ rationale | sentence }} Therefore, the answer is {{ answer }}.",
    ),
    _cot(
        "cot-qa",
        "Q: {{ question }}\nA: Let's reason before we answer.",
        "{{ rationale | sentence }} The answer is {{ answer }}.",
    ),
    _cot(
        "cot-explain-then-answer",
        "Question: {{ question }}\nExplain how you get to the answer, then give it.",
        "{{ rationale | sentence }}\nThe answer is {{ answer }}.",
    ),
    _cot(
        "cot-rationale-answer",
        "Give a rationale for your answer, and the answer after it.\n\n{{ question }}\n\nRationale and answer:",
        "{{ rationale | sentence }}\nSo the final answer is {{ answer }}.",
    ),
    _cot(
        "cot-careful",
        "{{ question }} Think carefully, write your thoughts down, and end with the answer.",
        "{{ rationale | sentence }} This is why the answer is {{ answer }}.",
    ),
)
#: As above where rows list options, and the question without them beside it.
LISTING = tuple(replace(template, shows_options=True) for template in TEMPLATES)
OPEN = (
    direct("direct-open", "{{ bare_question }}", "{{ choice }}", options="choices"),
    direct("direct-open-qa", "Q: {{ bare_question }}\nA:", "{{ choice }}", options="choices"),
    reasoned(
        "cot-open",
        "{{ bare_question }}\nLet's work this out step by step.",
        "{{ rationale | sentence }} So the answer is {{ choice }}.",
        options="choices",
        answer="{{ choice }}",
    ),
    reasoned(
        "cot-open-qa",
        "Q: {{ bare_question }}\nA, with the reasons first:",
        "{{ rationale | sentence }} The answer is {{ choice }}.",
        options="choices",
        answer="{{ choice }}",
    ),
)

#: Where the answer is a letter, it has to be said in words for the question to be asked for.
INVERSE = (
    inverse("inverse-ask", "Write a question whose answer is: {{ choice }}", "{{ bare_question }}"),
    inverse("inverse-answer", "Answer: {{ choice }}\nQuestion:", "{{ bare_question }}"),
    inverse(
        "inverse-question",
        "{{ rationale | sentence }} The answer is {{ choice }}.\n\nWrite the question that this answers.",
        "{{ bare_question }}",
        cot=True,
    ),
    inverse(
        "inverse-question-and-answer",
        "Rationale: {{ rationale }}\n\nWrite the question that it reasons about, and its answer.",
        "Question: {{ bare_question }}\nAnswer: {{ choice }}",
        cot=True,
    ),
    inverse(
        "inverse-rationale",
        "{{ bare_question }}\n\nThe answer is {{ choice }}. Explain why.",
        "{{ rationale }}",
        cot=True,
    ),
    inverse(
        "inverse-question-and-rationale",
        "Make up a question whose answer is {{ choice }}, and explain why it is.",
        "Question: {{ bare_question }}\nExplanation: {{ rationale }}",
        cot=True,
    ),
)

#: Cluster and licence of the sets that FLAN ships, by the first word of the file's name.
SETS = {
    "aqua": ("math word problems", "Apache-2.0"),
    "creak": ("fact verification", "CC BY-SA 4.0"),
    "ecqa": ("commonsense question answering", "CDLA-Sharing-1.0"),
    "esnli": ("natural language inference", "MIT"),
    "gsm8k": ("math word problems", "MIT"),
    "qasc": ("science question answering", "CC BY 4.0"),
    "qed": ("open-domain question answering", "CC BY-SA 3.0"),
    "sensemaking": ("commonsense validation", "CC BY-SA 4.0"),
    "strategyqa": ("multi-hop question answering", "CC BY-SA 3.0 / MIT"),
}
CITATION = "Chung et al. 2022, Scaling Instruction-Finetuned Language Models, arXiv:2210.11416"

_OPTION = re.compile(r"^(?:- (.+)|(\([A-Za-z]\))(.*))$")


@dataclass(frozen=True)
class FlanCot:
    """Reads one set."""

    name: str = "flan-cot"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A TSV file in which some of the first rows have three columns, and not most of them are of another format."""
        if Source(path).suffix != ".tsv" or is_rated(head):
            return False
        return any(line.count(b"\t") == 2 for line in head.split(b"\n")[:50])

    def read(self, path: Path) -> Reading:
        """One task with every whole row."""
        source, reading, examples = Source(path), Reading(self.name), []
        for number, line in source.lines():
            try:
                if isinstance(line, Damage):
                    raise line
                examples.append(Example(str(number), _fields(line)))
            except (Damage, RowProblem) as problem:
                reading.quarantine(f"line {number}", str(problem))
        reading.accepted = len(examples)
        if examples:
            title = source.stem.removesuffix("_train")
            cluster, licence = SETS.get(title.split("_")[0], ("chain of thought", "not stated"))
            reading.tasks.append(
                Task(
                    name=f"cot/{title}",
                    cluster=cluster,
                    collection="cot",
                    templates=_templates(examples),
                    examples=examples,
                    licence=licence,
                    source=title,
                    citation=CITATION,
                    content=source.sha256(),
                )
            )
        return reading


def _templates(examples: list[Example]) -> tuple[Template, ...]:
    """Those that fit what the file holds."""
    if not any(row.fields["choices"] for row in examples):
        return TEMPLATES
    lettered = any(row.fields["choice"] != row.fields["answer"] for row in examples)
    return (*LISTING, *OPEN, *(INVERSE if lettered else ()))


def _fields(line: str) -> dict[str, object]:
    columns = [column.replace("\\n", "\n").strip() for column in line.split("\t")]
    if len(columns) != 3:
        raise RowProblem(f"{len(columns)} {'column' if len(columns) == 1 else 'columns'}, not 3")
    for name, column in zip(("question", "answer", "rationale"), columns, strict=True):
        if not column:
            raise RowProblem("empty target" if name == "answer" else f"empty {name}")
    question, answer, rationale = columns
    bare, labels, texts = _question_and_options(question)
    right = (texts[labels.index(answer)] if answer in labels else "") or answer
    return {
        "question": question,
        "answer": answer,
        "rationale": rationale,
        "options": labels if answer in labels else [],
        "bare_question": bare,
        "choices": [text for text in dict.fromkeys(texts) if text],
        "choice": right,
    }


def _question_and_options(text: str) -> tuple[str, list[str], list[str]]:
    """The question without its `Options:`, how each option is answered, and what each says."""
    question, found, listed = text.rpartition("Options:\n")
    matches = [_OPTION.match(line.strip()) for line in listed.splitlines() if line.strip()] if found else []
    whole = [match for match in matches if match]
    if not whole or len(whole) < len(matches) or not question.strip():
        return text, [], []
    labels = [(match[1] or match[2]).strip() for match in whole]
    # The template brings its own full stop.
    texts = [match[3].strip().removesuffix(".").strip() if match[2] else match[1].strip() for match in whole]
    if not any(match[2] for match in whole):
        labels = texts = list(dict.fromkeys(labels))  # an option that stands twice (97 rows of ecqa) is one answer
    elif len(set(labels)) < len(labels):
        return text, [], []
    return question.strip(), labels, texts


def listed_options(text: str) -> list[str]:
    """The answers that a question lists under `Options:`: `- yes` as `yes`, `(A) 21` as `(A)`."""
    _, found, listed = text.rpartition("Options:\n")
    if not found:
        return []
    matches = [_OPTION.match(line.strip()) for line in listed.splitlines() if line.strip()]
    options = [(match[1] or match[2]).strip() for match in matches if match]
    return options if len(options) == len(matches) == len(set(options)) else []


READERS = (FlanCot(),)
COLLECTIONS = (Declared("cot", "flan_cot", FlanCot(), (".tsv",), "FLAN's chain-of-thought sets"),)
