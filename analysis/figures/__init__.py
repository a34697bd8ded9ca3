"""One file a figure, one yaml of the same name in conf/figure."""
