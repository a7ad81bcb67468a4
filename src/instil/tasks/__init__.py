"""Tasks: rows of real files, phrased as instructions, with the metrics that judge the answers.

file -> readers/ -> Task(examples, templates, metrics) -> mixtures and evaluation
"""
