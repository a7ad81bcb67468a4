"""One file format each: `recognises` says whether a file is of the format, `read` gives its tasks and counts every row."""
