"""The database's schema and its SQL functions, brought in by Alembic."""
