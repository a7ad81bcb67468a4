"""One recipe, one run: the parts composed. Studies, which are grids of runs, stand on this.

recipe.yaml -> Recipe -> tune() -> runs/first/{model, metrics.jsonl, recipe.yaml, eval/, report.html}
"""
