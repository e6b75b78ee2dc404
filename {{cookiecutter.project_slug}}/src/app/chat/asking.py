"""The former place of ``model_of``, kept for one release: use
``app.chat.model.call``.
"""

from app.chat.model.call import model_of

__all__ = ["model_of"]
