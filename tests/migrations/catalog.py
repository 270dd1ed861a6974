"""What PostgreSQL's catalogs say of the schema pgqueue, as text that two databases can compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Mapping

Catalog = dict[str, list[str]]

# Each yields one text for each object. The owner of everything is written OWNER, and a missing ACL
# is written as the default that it stands for. The version table is Alembic's, so it is left out.
QUERIES: Mapping[str, str] = {
    "relations": """
        select concat_ws(' ', relkind, relname, relpersistence, relrowsecurity, relreplident,
            amname, reloptions)
        from ours left join pg_am on pg_am.oid = relam
    """,
    "columns": """
        select concat_ws(' ', relname, attnum, attname, format_type(atttypid, atttypmod),
            'notnull', attnotnull, 'identity', attidentity, 'generated', attgenerated,
            'collation', collname, 'storage', attstorage, 'statistics', nullif(attstattarget, -1),
            'default', pg_get_expr(adbin, adrelid))
        from ours
        join pg_attribute on attrelid = ours.oid and attnum > 0 and not attisdropped
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        left join pg_collation on pg_collation.oid = attcollation
        where relkind in ('r', 'p', 'v', 'm')
    """,
    "constraints": """
        select concat_ws(' ', relname, conname, convalidated,
            pg_get_constraintdef(pg_constraint.oid))
        from pg_constraint join ours on ours.oid = conrelid
    """,
    "indexes": """
        select concat_ws(' ', pg_get_indexdef(indexrelid), 'valid', indisvalid)
        from pg_index join ours on ours.oid = indrelid
    """,
    "views": """
        select concat_ws(' ', relname, reloptions, pg_get_viewdef(ours.oid))
        from ours where relkind in ('v', 'm')
    """,
    "sequences": """
        select concat_ws(' ', relname, format_type(seqtypid, null), seqstart, seqincrement, seqmin,
            seqmax, seqcache, seqcycle)
        from pg_sequence join ours on ours.oid = seqrelid
    """,
    "triggers": """
        select pg_get_triggerdef(pg_trigger.oid)
        from pg_trigger join ours on ours.oid = tgrelid where not tgisinternal
    """,
    "functions": """
        select concat_ws(' ', pg_get_functiondef(oid), 'parallel', proparallel)
        from pg_proc where pronamespace = to_regnamespace('pgqueue') and prokind in ('f', 'p')
    """,
    "types": """
        select concat_ws(' ', typtype, typname, pg_get_expr(typdefaultbin, 0))
        from pg_type where typnamespace = to_regnamespace('pgqueue') and typtype in ('d', 'e', 'r')
    """,
    "grants": """
        select concat_ws(' ', kind, name, case grantee when 0 then 'PUBLIC'
            when owner then 'OWNER' else grantee::regrole::text end, privilege_type, is_grantable)
        from (
            select 'schema' as kind, nspname::text as name, nspowner as owner,
                coalesce(nspacl, acldefault('n', nspowner)) as acl
            from pg_namespace where nspname = 'pgqueue'
            union all
            select 'relation', relname::text, relowner, coalesce(relacl, acldefault(
                case relkind when 'S' then 's' else 'r' end::"char", relowner))
            from ours where relkind <> 'i'
            union all
            select 'column', relname || '.' || attname, relowner, attacl
            from ours join pg_attribute on attrelid = ours.oid and attacl is not null
            union all
            select 'function', oid::regprocedure::text, proowner,
                coalesce(proacl, acldefault('f', proowner))
            from pg_proc where pronamespace = to_regnamespace('pgqueue')
        ) as held cross join lateral aclexplode(acl)
    """,
    "comments": """
        select concat_ws(' ', kind, name, description)
        from (
            select 'pg_namespace'::regclass as kind, oid, nspname::text as name
            from pg_namespace where nspname = 'pgqueue'
            union all select 'pg_class'::regclass, oid, relname from ours
            union all select 'pg_proc'::regclass, oid, proname
            from pg_proc where pronamespace = to_regnamespace('pgqueue')
        ) as named join pg_description on objoid = named.oid and classoid = kind
    """,
}

OURS = """
with ours as (
    select * from pg_class
    where relnamespace = to_regnamespace('pgqueue')
        and relname not in ('alembic_version', 'alembic_version_pkc')
)
"""


def read(connection: psycopg.Connection) -> Catalog:
    """The catalog of the schema pgqueue; each list is empty when there is none."""
    # Times in expressions are written in the session's zone.
    connection.execute("set timezone = 'UTC'")
    return {
        kind: sorted(text for (text,) in connection.execute(OURS + query))
        for kind, query in QUERIES.items()
    }


def read_database(dsn: str) -> Catalog:
    """The catalog of the schema pgqueue in a database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return read(connection)


def differences(left: Catalog, right: Catalog) -> list[str]:
    """What stands in only one of two catalogs, marked with - (left) and + (right)."""
    return [
        f"{sign} {kind}: {text}"
        for kind in QUERIES
        for sign, mine, other in (("-", left, right), ("+", right, left))
        for text in mine[kind]
        if text not in other[kind]
    ]
