-- Makes the maintenance steps known. By: a worker at its start. Locks: new rows only.
insert into pgqueue.steps (name)
select unnest(%(names)s::text[])
on conflict do nothing
