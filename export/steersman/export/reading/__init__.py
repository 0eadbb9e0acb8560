"""Opening SB3 files of any age without running anything that they contain."""
