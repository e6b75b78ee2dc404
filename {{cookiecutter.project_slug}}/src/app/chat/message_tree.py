"""Paths through the tree of messages, and versions of a message.

A path leads from a first message down to the message that a page shows last. Versions
are messages with the same parent: edited questions or regenerated answers.
"""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, literal, or_, orm, select
from sqlalchemy.orm.interfaces import ORMOption

from app.chat.models import Message

# Loader options for messages that a page shows.
SHOWN: tuple[ORMOption, ...] = (
    orm.joinedload(Message.run),
    orm.joinedload(Message.feedback),
    orm.selectinload(Message.tool_calls),
)


def _path_statement() -> Select[Message]:
    """The statement of ``path``, with the parameters ``head_id`` and ``most``."""
    length = literal(1).label("length")
    head = select(Message.id, Message.parent_id, length)
    head = head.where(Message.id == bindparam("head_id"))
    steps = head.cte("path", recursive=True)
    parent = orm.aliased(Message)
    parents = select(parent.id, parent.parent_id, steps.c.length + 1)
    parents = parents.join(steps, parent.id == steps.c.parent_id)
    # The limit on the length ends the recursion, on SQLite and PostgreSQL alike.
    parents = parents.where(steps.c.length < bindparam("most"))
    steps = steps.union_all(parents)
    messages = select(Message)
    messages = messages.join(steps, Message.id == steps.c.id)
    return messages.order_by(steps.c.length.desc())


# Built once, since building it takes longer than running it.
_PATH = _path_statement()


def path(
    session: orm.Session,
    head_id: UUID | None,
    most: int,
    *options: ORMOption,
) -> list[Message]:
    """The last *most* messages of the path that ends at *head_id*, oldest first.

    *options* are loader options. Without a head the path is empty.
    """
    if head_id is None:
        return []
    parameters = {"head_id": head_id, "most": most}
    return list(session.scalars(_PATH.options(*options), parameters))


def versions(session: orm.Session, shown: Sequence[Message]) -> dict[UUID, list[UUID]]:
    """The ids of all versions of each shown message that has several, oldest first.

    *shown* is a path, or a part of one.
    """
    if not shown:
        return {}
    ids_by_parent: dict[UUID | None, list[UUID]] = defaultdict(list)
    for message_id, parent_id in session.execute(_siblings_of(shown)):
        ids_by_parent[parent_id].append(message_id)
    ids_by_message = {}
    for message in shown:
        ids = ids_by_parent[message.parent_id]
        if len(ids) > 1:
            ids_by_message[message.id] = ids
    return ids_by_message


def _siblings_of(shown: Sequence[Message]) -> Select[UUID, UUID | None]:
    """The ids and parents of the shown messages and their siblings, oldest first."""
    first = shown[0]
    parent_ids = [message.parent_id for message in shown if message.parent_id]
    is_sibling: ColumnElement[bool] = Message.parent_id.in_(parent_ids)
    if first.parent_id is None:
        # First messages have no parent to find them by. Finding their versions reads
        # the whole conversation, so it is done only where a first message is shown.
        in_conversation = Message.conversation_id == first.conversation_id
        is_first = in_conversation & Message.parent_id.is_(None)
        is_sibling = or_(is_sibling, is_first)
    siblings = select(Message.id, Message.parent_id).where(is_sibling)
    return siblings.order_by(Message.id)


def end_of(session: orm.Session, message: Message) -> UUID:
    """The newest message below *message*: the end of the latest path through it."""
    start = select(Message.id).where(Message.id == message.id)
    below = start.cte("below", recursive=True)
    child = orm.aliased(Message)
    children = select(child.id)
    children = children.join(below, child.parent_id == below.c.id)
    below = below.union_all(children)
    newest = select(below.c.id).order_by(below.c.id.desc())
    newest = newest.limit(1)
    newest_id: UUID = session.scalars(newest).one()
    return newest_id
