"""The speed of Hotcell, measured beside others in one run: ``make bench``. See docs/reference/speed.md."""
