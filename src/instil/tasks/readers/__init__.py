"""One file format each: `recognises` tells whether a file is of it, `read` gives its tasks and counts every row."""
