"""Runs: an answer from its question to its end.

``service`` is what pages call. A run works on the loop thread of one process
(``runner``) and belongs to no connection.
"""
