"""The numbered events of runs, and the streams that send them to browsers."""
