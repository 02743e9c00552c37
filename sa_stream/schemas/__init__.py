"""Records that cross a boundary, as `Type_Safe` classes, one a file, under the names that other programs know."""
