"""SQL over datasets and over the variables of a notebook."""

from slaf.sql.session import Prepared, SqlSession, ask, session_of

__all__ = ["Prepared", "SqlSession", "ask", "session_of"]
