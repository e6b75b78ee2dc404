"""The only place beside ``agent.py`` and ``tools.py`` that imports Pydantic AI.

It is imported at the first question, not at the start of the application.
"""
