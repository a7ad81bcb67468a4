"""From numbers to one HTML file: plain dictionaries go in, a page that needs no network comes out.

    report.json (a `QuickstartReport` or a `RunReport`)  ->  render_quickstart / render_run  ->  report.html

Pure functions: they read no file but their own page templates, start no process and import no model code.
"""
